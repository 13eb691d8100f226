"""The interface of model sources, and their shared helpers."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn

IMAGENET = "imagenet-1k"


@dataclass(frozen=True)
class PretrainedConfig:
    """The input that a model's published weights expect, and the labels that they predict.

    `mean` and `std` are per channel, for inputs in [0, 1]; `image_size` is the side in pixels after resizing
    to `image_size / crop_pct` by `interpolation` (``bilinear``, ``bicubic`` or ``nearest``) and cropping.
    `label_space` is ``"imagenet-1k"`` for the 1000 ImageNet classes in their usual order, ``"voc-21"`` for Pascal
    VOC's with background, otherwise None. `origin` names library and weights, e.g. ``timm resnet18.a1_in1k``.
    `resizing` says how exactly images are resized and cropped, see `data.resize`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    crop_pct: float
    interpolation: str
    num_classes: int
    label_space: str | None
    origin: str
    resizing: Literal["usual", "floored-crop", "stretched", "timm", "timm-squash"] = "usual"


@dataclass(frozen=True)
class Scaling:
    """The input scaling in a model's first layer: (input - mean) / std per channel, for inputs in [0, 1].

    `origin` states briefly where the values come from.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str


RGB = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "the usual RGB values (ImageNet's)")


class ModelSource(Protocol):
    """Something that builds networks of one architecture: a library's model or a user's callable."""

    @property
    def spec(self) -> str:
        """The canonical spec, e.g. ``timm:resnet18`` or ``net.py:make``."""

    @property
    def name(self) -> str:
        """A short name for tables, e.g. ``resnet18``."""

    @property
    def pretrained(self) -> PretrainedConfig | None:
        """What the pretrained weights expect; None if there are none."""

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Return a new network for inputs of `in_channels` channels, its weights drawn from the global RNG.

        `num_classes` None means the model's own number. With `pretrained`, the published weights are loaded.
        Raises `UsageError` if the architecture cannot be built this way or has no pretrained weights, and
        `RunError` if its weights cannot be downloaded.
        """

    def fingerprint(self) -> str:
        """Return a SHA-256 of what determines the architecture besides the spec: library version or code."""


@runtime_checkable
class NamesClassifier(Protocol):
    """A source that names the layers of its networks that output the class scores."""

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the names of the classifier layers, as in the state dict without ``.weight``."""


@runtime_checkable
class ScalesInput(Protocol):
    """A source that defines its networks' input scaling, because there are no pretrained weights to define it."""

    @property
    def default_scaling(self) -> Scaling | None:
        """The scaling, or None if inputs stay in [0, 1]."""


@runtime_checkable
class TakesNotes(Protocol):
    """A source whose networks have properties that a user should know of."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence each, without a final stop."""


@runtime_checkable
class OwnWeights(Protocol):
    """A source whose networks may come with weights of their own: neither a library's nor from a weights file."""

    @property
    def own_weights(self) -> bool:
        """Whether networks are built with such weights instead of random ones."""

    @property
    def origin_of_weights(self) -> str:
        """Which they are, e.g. ``those of the instance net.py:model``."""


def own_weights(source: ModelSource) -> str | None:
    """Return which weights the source's networks come with if they are its own, otherwise None."""
    return source.origin_of_weights if isinstance(source, OwnWeights) and source.own_weights else None


def digest(*parts: str) -> str:
    """Return the SHA-256 of the sequence of `parts`, each hashed with its length."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(b"%d:" % len(data) + data)
    return whole.hexdigest()


@contextmanager
def quiet_library() -> Iterator[None]:
    """Redirect a library's prints to stderr, since stdout may carry a JSON report, and drop its warnings."""
    with redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
