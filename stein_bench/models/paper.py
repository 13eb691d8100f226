"""The networks of the Stein shrinkage paper (arXiv 2507.08261), by name: ``paper:NAME[,OPTION=VALUE,…]``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stein_bench.errors import UsageError, unknown_name
from stein_bench.models.interface import RGB, Scaling, digest

if TYPE_CHECKING:
    from torch import nn

Option = int | str | tuple[int, ...]
"""A positive integer, a word, or sizes such as 128×128×64, written ``128x128x64``."""

MOST_PARAMETERS = 1_000_000_000
"""A network of this kind with more is assumed to be a typo."""

_SIZE = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Architecture:
    """A network of the paper.

    Attributes:
        builder: called with `num_classes` (None: its own number), `in_channels` and the user's options, which are its
            keyword-only parameters, typed by their defaults.
        summary: one-line description.
        scaling: its default input scaling; None leaves inputs unchanged.
        classifier: the layers that output the class scores, as in the state dict without ``.weight``.
    """

    builder: Callable[..., nn.Module]
    summary: str
    scaling: Scaling | None = None
    classifier: tuple[str, ...] = ()

    def options(self) -> dict[str, Option]:
        """Return the builder's options with their defaults."""
        parameters = inspect.signature(self.builder).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


@dataclass(frozen=True)
class PaperModel:
    """A network of the paper, with the options that differ from the published ones."""

    key: str
    options: Mapping[str, Option] = field(default_factory=dict)
    pretrained: None = None

    @property
    def spec(self) -> str:
        return f"paper:{self.name}"

    @property
    def name(self) -> str:
        """The name with the non-default options, in the builder's order."""
        return ",".join([self.key, *(f"{option}={_written(value)}" for option, value in self.options.items())])

    @property
    def default_scaling(self) -> Scaling | None:
        return PAPER_MODELS[self.key].scaling

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Build the network. See `ModelSource.build`; there are no pretrained weights."""
        if pretrained:
            raise UsageError(f"{self.spec} has no pretrained weights; give a weights file.")
        builder = partial(PAPER_MODELS[self.key].builder, num_classes, in_channels, **self.options)
        if self.options:
            self._check_size(builder)
        return builder()

    def _check_size(self, builder: Callable[[], nn.Module]) -> None:
        """Refuse options that give an implausibly large network, before memory is allocated for it."""
        import torch

        try:
            with torch.device("meta"):
                size = sum(parameter.numel() for parameter in builder().parameters())
        except (RuntimeError, OverflowError, TypeError) as error:  # sizes that overflow in torch
            raise UsageError(f"cannot build {self.spec}: its options are too large.") from error
        if size > MOST_PARAMETERS:
            raise UsageError(f"{self.spec} would have {size:,} parameters; at most {MOST_PARAMETERS:,} are allowed.")

    def fingerprint(self) -> str:
        """Return the hash of the spec and of the code that builds it: all modules of `stein_bench.models`."""
        files = sorted(Path(__file__).parent.glob("*.py"))
        return digest("paper", self.spec, *(file.read_text(encoding="utf-8") for file in files))

    def classifier_layers(self) -> tuple[str, ...]:
        """Return the layers that the registry names."""
        return PAPER_MODELS[self.key].classifier


def find_paper_model(text: str) -> PaperModel:
    """Return the network that ``NAME[,OPTION=VALUE,…]`` specifies.

    Raises `UsageError`, with the nearest known name, for anything else.
    """
    key, *parts = text.split(",")
    if key not in PAPER_MODELS:
        raise unknown_name("model of the paper", key, PAPER_MODELS)
    known = PAPER_MODELS[key].options()
    given: dict[str, Option] = {}
    for part in parts:
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            example = next((f"{name}={_written(default)}" for name, default in known.items()), "")
            hint = example and f", e.g. {example}"
            raise UsageError(f"paper:{text}: {part!r} is not of the form option=value{hint}.")
        if option not in known:
            raise unknown_name(f"option of paper:{key}", option, known, hint="" if known else "It has none.")
        if option in given:
            raise UsageError(f"paper:{text} gives {option!r} twice.")
        given[option] = _parsed(value, known[option], f"paper:{key},{option}")
    return PaperModel(key, {name: given[name] for name in known if given.get(name, known[name]) != known[name]})


def _parsed(text: str, default: Option, what: str) -> Option:
    """Parse an option's value as the type of its `default`."""
    if isinstance(default, str):
        return text
    wanted = len(default) if isinstance(default, tuple) else 1
    kind = "a whole number of at least 1" if wanted == 1 else f"{wanted} whole numbers of at least 1"
    sizes = text.lower().split("x")
    if len(sizes) != wanted or not all(_SIZE.fullmatch(size) for size in sizes):
        raise UsageError(f"{what}={text}: write {kind}, e.g. {_written(default)}.")
    return tuple(map(int, sizes)) if isinstance(default, tuple) else int(sizes[0])


def _written(value: Option) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _cifar_resnet(blocks: tuple[int, ...], width: int, *, projection: bool) -> Callable[..., nn.Module]:
    """Return the builder of a CIFAR ResNet with `blocks` per stage; its only option is the base width."""
    base = width

    def build(num_classes: int | None, in_channels: int, *, width: int = base) -> nn.Module:
        from stein_bench.models.cifar_resnet import CifarResNet

        return CifarResNet(blocks, width, num_classes or 10, in_channels, projection=projection)

    return build


def _cnn3d(num_classes: int | None, in_channels: int, *, shape: tuple[int, int, int] = (128, 128, 64)) -> nn.Module:
    from stein_bench.models.cnn3d import CNN3D

    outputs = 1 if num_classes in (None, 1, 2) else num_classes
    return CNN3D(shape, outputs, in_channels)


def _hrnet(num_classes: int | None, in_channels: int, *, stem_stride: int = 1) -> nn.Module:
    from stein_bench.models.segmentation import hrnet

    return hrnet(num_classes or 19, in_channels, stem_stride)


PAPER_MODELS: dict[str, Architecture] = {
    "resnet9": Architecture(
        _cifar_resnet((1, 1, 1, 1), 64, projection=True),
        "CIFAR ResNet of basic blocks 1-1-1-1, widths 64 to 512",
        RGB,
        ("linear",),
    ),
    "resnet18": Architecture(
        _cifar_resnet((2, 2, 2, 2), 64, projection=True),
        "CIFAR ResNet of basic blocks 2-2-2-2, widths 64 to 512",
        RGB,
        ("linear",),
    ),
    "resnet20": Architecture(
        _cifar_resnet((3, 3, 3), 16, projection=False),
        "CIFAR ResNet-20 (He et al. 2015, section 4.2), widths 16 to 64",
        RGB,
        ("linear",),
    ),
    "resnet56": Architecture(
        _cifar_resnet((9, 9, 9), 16, projection=False),
        "CIFAR ResNet-56 (He et al. 2015, section 4.2), widths 16 to 64",
        RGB,
        ("linear",),
    ),
    "cnn3d": Architecture(
        _cnn3d,
        "3-D network of four convolutions for 1×128×128×64 volumes; one logit",
        classifier=("classifier.4",),
    ),
    "hrnet": Architecture(
        _hrnet,
        "HRNet-W18-small-v1 with a 240-channel concatenation head, for segmentation; its stem keeps the resolution",
        RGB,
        ("head.3",),
    ),
}
"""Name → architecture. Builders import torch when called."""
