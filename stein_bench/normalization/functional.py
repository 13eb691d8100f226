"""Normalization with batch statistics: from elements to moments to normalized elements.

`x` has shape ``(n, C, ...)``; statistics are per channel, over all other dimensions and, given a process group,
over the batches of all its processes. Two implementations compute the same. The fast one (`fused`) makes as few
passes over the elements as plain BN. The one here is built from ordinary differentiable operations, so that
derivatives of any order and kind pass through the statistics, and programs can be traced.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stein_bench.normalization.estimators import Count, Estimator, widen
from stein_bench.normalization.synchronized import pool_moments

ProcessGroup = Any
"""A `torch.distributed` process group; torch builds without distributed support have no such class."""


def elements_per_channel(x: Tensor) -> int:
    """Return N, the number of elements of `x` in each channel."""
    return x.numel() // x.shape[1]


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sample mean and biased sample variance of every channel, in float32 or wider.

    Both are zero if `x` is empty.
    """
    if x.numel() == 0:
        nothing = widen(x).sum(_all_but_channels(x))
        return nothing, nothing
    variance, mean = torch.var_mean(widen(x), dim=_all_but_channels(x), correction=0)
    return mean, variance


def normalize(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    center: Tensor,
) -> Tensor:
    """Return ``(x - mean)/√(variance + eps)·γ + β`` in the dtype of `x`; `weight` is γ, `bias` is β.

    `center` is any vector ``(C,)`` near the elements and does not affect the result: it is subtracted first to avoid
    cancellation, and because it is constant, two sums over the elements give all gradients instead of three.
    """
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    center = center.detach()
    shift = (center - mean) * scale
    if bias is not None:
        shift = shift + bias
    return ((widen(x) - per_channel(center, x)) * per_channel(scale, x) + per_channel(shift, x)).to(x.dtype)


def normalize_batch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    estimator: Estimator,
    eps: float,
    group: ProcessGroup | None = None,
) -> tuple[Tensor, Tensor, Tensor, Count]:
    """Normalize `x` with the estimates that `estimator` gives for the moments of this batch.

    Returns the normalized tensor and, detached, what running averages need: the *sample* mean, the biased sample
    variance, and N (a number, or a 0-d tensor if there is a process group).
    """
    mean, variance = batch_moments(x)
    own_count = elements_per_channel(x)
    count: Count = own_count
    if group is not None:
        mean, variance, count = pool_moments(mean, variance, own_count, group)
    shrunk_mean, shrunk_variance = estimator(mean, variance, count)
    y = normalize(x, shrunk_mean, shrunk_variance, weight, bias, eps, center=mean)
    return y, mean.detach(), variance.detach(), count


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return a view of a ``(C,)`` vector that broadcasts over `x`."""
    return values.view(-1, *[1] * (x.dim() - 2))


def _all_but_channels(x: Tensor) -> list[int]:
    return [dimension for dimension in range(x.dim()) if dimension != 1]
