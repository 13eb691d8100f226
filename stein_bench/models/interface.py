"""The interface of model sources, and helpers that they share."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn

IMAGENET = "imagenet-1k"
LONGEST_REASON = 300


@dataclass(frozen=True)
class PretrainedConfig:
    """What the published weights of a model expect of their input, and which labels they give.

    `mean` and `std` are per channel, of inputs in [0, 1]; `image_size` is the side in pixels after resizing
    to `image_size / crop_pct` by `interpolation` (``bilinear``, ``bicubic`` or ``nearest``) and cropping.
    `label_space` is ``"imagenet-1k"`` for the 1000 ImageNet classes in their usual order, otherwise None.
    `origin` names library and weights, e.g. ``timm resnet18.a1_in1k``.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    crop_pct: float
    interpolation: str
    num_classes: int
    label_space: str | None
    origin: str


@dataclass(frozen=True)
class Scaling:
    """The input scaling in a model's first layer: (input - mean) / std per channel, for inputs in [0, 1].

    `origin` says in a few words where the numbers come from.
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
        """What the pretrained weights expect; None where there are none."""

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Return a new network for inputs of `in_channels` channels, its weights drawn from the global RNG.

        `num_classes` None means the model's own number. With `pretrained`, the published weights are loaded.
        Raises `UsageError` where the architecture cannot be built like that or has no pretrained weights, and
        `RunError` where its weights cannot be downloaded.
        """

    def fingerprint(self) -> str:
        """Return a SHA-256 of what determines the architecture beyond the spec: library version or code."""


@runtime_checkable
class NamesClassifier(Protocol):
    """A source that knows which layers of its networks give the class scores."""

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the names of the classifier layers, as in the state dict without ``.weight``."""


@runtime_checkable
class ScalesInput(Protocol):
    """A source whose networks have an input scaling of their own, without pretrained weights to tell it."""

    @property
    def default_scaling(self) -> Scaling | None:
        """The scaling, or None where inputs stay in [0, 1]."""


def digest(*parts: str) -> str:
    """Return the SHA-256 of `parts`, in order and told apart."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(b"%d:" % len(data) + data)
    return whole.hexdigest()


def reason(error: BaseException) -> str:
    """Return the message of an `error` from other people's code as one line of bounded length."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 1] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def quiet_library() -> Iterator[None]:
    """Keep a library's prints off stdout, which may be carrying a JSON report, and drop its warnings."""
    with redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
