"""Normalization over the current batch: from elements to moments to normalized elements.

`x` has shape ``(n, C, ...)``; statistics are per channel, over all other dimensions. Everything here is made
of ordinary differentiable operations, so derivatives of any order and kind pass through the statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stein_bench.normalization.estimators import Count, Estimator, widen


def elements_per_channel(x: Tensor) -> int:
    """Return N, the number of elements of `x` in each channel."""
    return x.numel() // x.shape[1]


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sample mean and biased sample variance of every channel, in float32 or wider."""
    variance, mean = torch.var_mean(widen(x), dim=_all_but_channels(x), correction=0)
    return mean, variance


def normalize(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Return ``(x - mean)/√(variance + eps)·γ + β`` in the type of `x`; `weight` is γ, `bias` is β."""
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    y = (widen(x) - _per_channel(mean, x)) * _per_channel(scale, x)
    if bias is not None:
        y = y + _per_channel(bias, x)
    return y.to(x.dtype)


def normalize_batch(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, estimator: Estimator, count: Count, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize `x` by the estimates that `estimator` makes of the moments of this very batch.

    Returns the normalized tensor, and the *sample* mean and biased variance (detached) for running averages.
    """
    mean, variance = batch_moments(x)
    shrunk_mean, shrunk_variance = estimator(mean, variance, count)
    y = normalize(x, shrunk_mean, shrunk_variance, weight, bias, eps)
    return y, mean.detach(), variance.detach()


def _all_but_channels(x: Tensor) -> list[int]:
    return [dimension for dimension in range(x.dim()) if dimension != 1]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return a view of a ``(C,)`` vector that broadcasts over `x`."""
    return values.view(-1, *[1] * (x.dim() - 2))
