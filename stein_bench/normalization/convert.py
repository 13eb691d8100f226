"""Convert a model's BN layers to Stein layers and back, with a summary of what was converted.

A layer is converted in place, by changing its class: the module, its parameters, buffers, hooks and flags
stay the same objects, so optimizers, hooks and shared modules keep working.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from stein_bench.errors import UsageError, unknown_name
from stein_bench.normalization.compensation import function_preserved
from stein_bench.normalization.layers import STATS, SteinNorm, stein_layers
from stein_bench.normalization.names import EstimatorName, parse_estimator
from stein_bench.normalization.own import own_estimator
from stein_bench.normalization.survey import SkippedLayer, check_compensable, stein_classes, survey


@dataclass(frozen=True)
class ConvertedLayer:
    """A converted layer: its `name` in the model (empty for the model itself) and its previous class, `kind`.

    `count` is N, the elements per channel of the last training batch; None if unknown (N = ∞ is assumed).
    """

    name: str
    kind: str
    channels: int
    count: float | None


@dataclass(frozen=True)
class ConversionSummary:
    """The layers that a conversion converted and skipped; a layer used several times is listed once."""

    estimator: str
    stats: str
    converted: tuple[ConvertedLayer, ...]
    skipped: tuple[SkippedLayer, ...]

    @property
    def variance_not_shrunk(self) -> tuple[str, ...]:
        """Names of converted layers of unknown count; running statistics assume N = ∞ for them."""
        return tuple(layer.name for layer in self.converted if layer.count is None)


def convert_batchnorm(
    model: nn.Module,
    estimator: str | Callable[..., tuple[Tensor, Tensor]] = "stein",
    *,
    stats: str = "running",
    preserve_function: bool = False,
    count: float | None = None,
) -> tuple[nn.Module, ConversionSummary]:
    """Convert all BN layers of `model` in place; existing Stein layers change their estimator.

    Args:
        model: any module, including a single layer.
        estimator: an estimator name, such as ``stein`` or ``ridge:0.3``, or a function of your own of (mean, variance,
            count) that returns the shrunk two; a gradient in its attribute ``pull_back`` replaces autograd's.
        stats: the statistics source in evaluation, ``running`` or ``batch``.
        preserve_function: let γ and β absorb the change of statistics, so that evaluation with running statistics
            computes the same function as before, up to rounding; a starting point for fine-tuning.
        count: elements per channel N, for layers of unknown count.

    Returns:
        The model, and a summary of what was converted, what was not, and why.

    Raises:
        UsageError: `estimator`, `stats` or `count` is invalid, or γ or β of a layer cannot absorb the change;
            the model is then unchanged.
    """
    if not isinstance(estimator, str):
        own = own_estimator(estimator)
        name = EstimatorName(own.spec, own=own)
    else:
        name = parse_estimator(estimator)
    _check_arguments(stats, count)
    convertible, skipped = survey(model)
    if preserve_function:
        check_compensable(model, [layer for _, layer in convertible])
    converted = []
    for path, layer in convertible:
        kind = type(layer).__name__
        with function_preserved(layer) if preserve_function else nullcontext():
            stein_layer = _become_stein(layer)
            stein_layer.adopt(name, stats)
            _set_unknown_count(stein_layer, count)
        converted.append(ConvertedLayer(path, kind, stein_layer.num_features, _known_count(stein_layer)))
    return model, ConversionSummary(str(name), stats, tuple(converted), tuple(skipped))


def restore_batchnorm(model: nn.Module, *, preserve_function: bool = False) -> nn.Module:
    """Convert all Stein layers of `model` back to plain BN, in place, and return the model.

    Without `preserve_function`, parameters and running sample moments are kept, which exactly inverts a conversion
    without it. With it, γ and β absorb the change of statistics, up to rounding.

    Raises:
        UsageError: γ or β of a layer cannot absorb the change; the model is then unchanged.
    """
    layers = [layer for _, layer in stein_layers(model)]
    if preserve_function:
        check_compensable(model, layers)
    plain_classes = {stein: plain for plain, stein in stein_classes().items()}
    for layer in layers:
        with function_preserved(layer) if preserve_function else nullcontext():
            plain_class = plain_classes[type(layer)]
            layer.release()
            layer.__class__ = plain_class  # type: ignore[assignment]
    return model


@contextmanager
def batchnorm_stats(model: nn.Module, stats: str) -> Iterator[nn.Module]:
    """Make all Stein layers of `model` evaluate with `stats` inside the context, and restore their source afterwards.

    Raises:
        UsageError: `stats` is neither ``running`` nor ``batch``.
    """
    former = [(layer, layer.stats) for _, layer in stein_layers(model)]
    try:
        for layer, _ in former:
            layer.stats = stats
        yield model
    finally:
        for layer, source in former:
            layer.stats = source


def has_batchnorm(model: nn.Module) -> bool:
    """Return whether `model` has a BN layer that is converted or can be."""
    return bool(survey(model)[0])


def _check_arguments(stats: str, count: float | None) -> None:
    if stats not in STATS:
        raise unknown_name("statistics source", stats, STATS)
    if count is not None and not (math.isfinite(count) and count >= 2 and count == int(count)):
        raise UsageError(f"bad count {count}: it must be a whole number of elements per channel, 2 or more")


def _become_stein(layer: nn.Module) -> SteinNorm:
    """Return the same object as a Stein layer (whose estimator is still to be set)."""
    if not isinstance(layer, SteinNorm):
        layer.__class__ = stein_classes()[type(layer)]
    return cast(SteinNorm, layer)


def _set_unknown_count(layer: SteinNorm, count: float | None) -> None:
    if count is not None and layer.count is not None and _known_count(layer) is None:
        layer.count.fill_(int(count))


def _known_count(layer: SteinNorm) -> float | None:
    """Return N, or None if it is unknown (always so on the meta device)."""
    if layer.count is None or layer.count.is_meta:
        return None
    return float(layer.count) or None
