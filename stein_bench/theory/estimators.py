"""The simulated estimators, batched, and the bound of the theorem on variances."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stein_bench.normalization.estimators import estimator, geometric_mean, variance_pull

BatchedEstimator = Callable[[Tensor, Tensor, int, Tensor], tuple[Tensor, Tensor]]
"""Maps (means (n, C), biased variances (n, C), N, noise variance of the means (C,)) to the estimates (n, C)."""


def batched_estimator(name: str) -> BatchedEstimator:
    """Return the estimator of that canonical name, vectorized over batches.

    Only ``stein-theorem`` uses the true noise variance of the means, σ²/N.
    """
    if name == "unbiased":
        return _unbiased
    if name == "stein-theorem":
        return torch.vmap(_stein_theorem, in_dims=(0, 0, None, None))
    vectorised = torch.vmap(estimator(name), in_dims=(0, 0, None))

    def without_noise(mean: Tensor, variance: Tensor, count: int, noise: Tensor) -> tuple[Tensor, Tensor]:
        del noise
        return vectorised(mean, variance, count)

    return without_noise


def plain_james_stein(mean: Tensor, noise: Tensor) -> Tensor:
    """Return ``(1 - (C-2)·τ²/Σm²)·m`` with τ² the mean of `noise`; m itself for fewer than three channels.

    Source: James and Stein 1961, for known noise; the factor may be negative.
    """
    if mean.shape[-1] < 3:
        return mean
    energy = mean.square().sum(-1, keepdim=True)
    return mean * (1 - (mean.shape[-1] - 2) * noise.mean(-1, keepdim=True) / energy)


def gamma_variance(variance: Tensor, count: int, share: float) -> Tensor:
    """Return ``N/(N+1)·s + share·M·G``, with M and G as in `stein`, which has share 1."""
    best_scale, pull = variance_pull(variance.shape[-1], count)
    return best_scale * variance + share * pull * geometric_mean(variance)


def largest_pull(channels: int, count: int) -> tuple[float, float]:
    """Return the largest M with which ``N/(N+1)·s + M·G`` dominates ``N/(N+1)·s``: the proved and the exact one.

    For Gaussian elements, squared error summed over C ≥ 2 channels, and any variances. With α = (N-1)/2, the shape of
    the gamma distribution of s, the risk changes by ``2M·E[G]·Σσ²·k + M²·C·E[G²]``, k < 0, which for a given G is
    largest if all variances are equal; then it is negative exactly for M below
    ``4(C-1)·N/(N+1)/(2C)·(Γ(α+1/C)/Γ(α+2/C))^C``. Because Γ(x+t)/Γ(x) ≤ x^t for 0 < t < 1, the M of `stein`,
    ``4(C-1)·(N/(N+1))/((N-1)·C+2)``, never exceeds this bound; it is the largest M that the proof covers. At equal
    variances half the exact bound is optimal.
    """
    best_scale, proved = variance_pull(channels, count)
    shape = (count - 1) / 2
    log_ratio = math.lgamma(shape + 1 / channels) - math.lgamma(shape + 2 / channels)
    exact = 2 * (channels - 1) / channels * float(best_scale) * math.exp(channels * log_ratio)
    return float(proved), exact


def _unbiased(mean: Tensor, variance: Tensor, count: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    del noise
    return mean, variance * (count / (count - 1))


def _stein_theorem(mean: Tensor, variance: Tensor, count: int, noise: Tensor) -> tuple[Tensor, Tensor]:
    return plain_james_stein(mean, noise), gamma_variance(variance, count, 0.5)
