"""A model's BN layers: statistics, which can be converted, and how strongly each estimator would shrink them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from stein_bench.normalization.estimators import estimator, geometric_mean
from stein_bench.normalization.layers import SteinNorm
from stein_bench.normalization.survey import SkippedLayer, survey


@dataclass(frozen=True)
class Range:
    """Minimum, median and maximum over a layer's channels."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Shrinkage:
    """How strongly an estimator shrinks a layer's running moments.

    Attributes:
        mean_kept: share of the mean vector that remains, ``m'·m / m·m``: 1 is unchanged, 0 is shrunk to zero; None
            for a zero mean.
        variance_ratio: ``s'/s`` over the channels with s > 0: above 1 a channel's outputs get smaller; None if
            there are none.
    """

    mean_kept: float | None
    variance_ratio: Range | None


@dataclass(frozen=True)
class LayerStatistics:
    """The running sample moments of a layer.

    Attributes:
        mean_rms: root mean square of the channels' means.
        variance: range of the channels' biased variances.
        variance_geometric_mean: G; `stein` pulls variances towards a multiple of it.
    """

    mean_rms: float
    variance: Range
    variance_geometric_mean: float


@dataclass(frozen=True)
class LayerInspection:
    """One BN layer that converts (or is a Stein layer already).

    Attributes:
        name: in the model; empty for the model itself.
        kind: its class.
        channels: number of channels C.
        count: elements per channel N for which shrinkage is computed; None means N = ∞.
        count_source: where N comes from: the ``weights``, an assumed ``batch``, or ``unknown``.
        statistics: None for a layer without running averages.
        shrinkage: by estimator name; empty without statistics.
    """

    name: str
    kind: str
    channels: int
    count: int | None
    count_source: Literal["weights", "batch", "unknown"]
    statistics: LayerStatistics | None
    shrinkage: dict[str, Shrinkage]


@dataclass(frozen=True)
class ModelInspection:
    """All normalization layers of a model: those that convert, and the others with the reason."""

    layers: tuple[LayerInspection, ...]
    skipped: tuple[SkippedLayer, ...]


@torch.no_grad()
def inspect_batchnorm(
    model: nn.Module, estimators: Sequence[str], elements: dict[str, int] | None = None, batch_size: int = 0
) -> ModelInspection:
    """Inspect all BN layers of `model`, in the order of `named_modules`; nothing is changed.

    Args:
        model: plain or converted.
        estimators: names such as ``stein`` or ``ridge:0.3``.
        elements: elements per channel and sample by layer name, from `elements_per_sample`; times `batch_size` they
            give N for layers of unknown count.
        batch_size: samples per training batch, assumed for these layers.

    Raises:
        UsageError: an estimator name is unknown.
    """
    functions = {name: estimator(name) for name in estimators}
    convertible, skipped = survey(model)
    layers = []
    for name, layer in convertible:
        norm = cast(nn.BatchNorm2d, layer)
        count, source = _count(layer, (elements or {}).get(name, 0) * batch_size)
        statistics, shrinkage = None, {}
        if norm.running_mean is not None and norm.running_var is not None:
            mean = norm.running_mean.double().cpu()
            variance = norm.running_var.double().cpu() * (1 - 1 / (count or torch.inf))
            statistics = LayerStatistics(
                float(mean.square().mean().sqrt()), _range(variance), float(geometric_mean(variance))
            )
            number = torch.inf if count is None else float(count)
            shrinkage = {
                key: _shrinkage(mean, variance, *function(mean, variance, number))
                for key, function in functions.items()
            }
        kind = type(layer).__name__
        layers.append(LayerInspection(name, kind, norm.num_features, count, source, statistics, shrinkage))
    return ModelInspection(tuple(layers), tuple(skipped))


@contextmanager
def elements_per_sample(model: nn.Module) -> Iterator[dict[str, int]]:
    """Record, while `model` runs in the body, how many elements per channel and sample each BN layer gets."""
    found: dict[str, int] = {}
    handles = []
    for name, layer in survey(model)[0]:

        def record(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            found[name] = inputs[0].numel() // (inputs[0].shape[0] * inputs[0].shape[1])

        handles.append(layer.register_forward_pre_hook(record))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _count(layer: nn.Module, assumed: int) -> tuple[int | None, Literal["weights", "batch", "unknown"]]:
    known = int(layer.count) if isinstance(layer, SteinNorm) and layer.count is not None else 0
    if known > 0:
        return known, "weights"
    return (assumed, "batch") if assumed > 1 else (None, "unknown")


def _shrinkage(mean: Tensor, variance: Tensor, shrunk_mean: Tensor, shrunk_variance: Tensor) -> Shrinkage:
    energy = mean.square().sum()
    varies = variance > 0
    return Shrinkage(
        float((mean * shrunk_mean).sum() / energy) if energy > 0 else None,
        _range(shrunk_variance[varies] / variance[varies]) if varies.any() else None,
    )


def _range(values: Tensor) -> Range:
    return Range(float(values.min()), float(values.median()), float(values.max()))
