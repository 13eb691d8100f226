"""Gradients of the estimators, hand-written where autograd is too slow.

On vectors of a few hundred channels, recording and differentiating the thirty small operations of `stein` takes
longer than the elementwise pass over a small layer. The other estimators use autograd, unless somebody's own brings a
gradient as its attribute ``pull_back``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stein_bench.normalization.estimators import (
    SMALLEST_ENERGY,
    SMALLEST_VARIANCE,
    Count,
    Estimator,
    positive_scale,
    stein,
    stein_mean,
    variance_pull,
)

Pullback = Callable[[Tensor, Tensor, Count, Tensor, Tensor], tuple[Tensor, Tensor]]


def pull_back(
    estimator: Estimator, mean: Tensor, variance: Tensor, count: Count, mean_grad: Tensor, variance_grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the sample moments, given those of the estimates; all of shape ``(C,)``."""
    written_out = PULLBACKS.get(estimator) or getattr(estimator, "pull_back", None)
    if written_out is not None:
        return written_out(mean, variance, count, mean_grad, variance_grad)
    with torch.enable_grad():
        moments = mean.detach().requires_grad_(), variance.detach().requires_grad_()
        estimates = estimator(*moments, count)
        grads = torch.autograd.grad(estimates, moments, (mean_grad, variance_grad), materialize_grads=True)
    return grads[0], grads[1]


def _through_stein(
    mean: Tensor, variance: Tensor, count: Count, mean_grad: Tensor, variance_grad: Tensor
) -> tuple[Tensor, Tensor]:
    best_scale, pull = variance_pull(variance.numel(), count)
    bounded = variance.clamp_min(SMALLEST_VARIANCE)
    geometric = bounded.log().mean().exp()
    through_geometric = geometric * pull * variance_grad.mean() / bounded  # may be infinite where masked below
    through_geometric = torch.where(variance >= SMALLEST_VARIANCE, through_geometric, 0)
    return _through_stein_mean(mean, mean_grad), best_scale * variance_grad + through_geometric


def _through_stein_mean_only(
    mean: Tensor, variance: Tensor, count: Count, mean_grad: Tensor, variance_grad: Tensor
) -> tuple[Tensor, Tensor]:
    del variance, count
    return _through_stein_mean(mean, mean_grad), variance_grad


def _through_stein_mean(mean: Tensor, grad: Tensor) -> Tensor:
    """With R the relative spread and k its factor: ``m' = (1 - k·R)·m``, so ``(1 - k·R)·g - k·(g·m)·∂R/∂m``."""
    channels = mean.numel()
    if channels < 3:
        return grad
    factor = (channels - 2) * channels / (channels + 1)
    unit = mean / positive_scale(mean)  # R is scale-invariant
    energy = unit.square().sum().clamp_min(SMALLEST_ENERGY)
    centered = unit - unit.mean()
    spread = centered.square().mean() / energy
    slope = (centered / channels - spread * unit) * (2 / energy)
    return grad * (1 - factor * spread) - slope * (factor * (grad * unit).sum())


PULLBACKS: dict[Any, Pullback] = {stein: _through_stein, stein_mean: _through_stein_mean_only}
"""Estimator function -> its hand-written gradient."""
