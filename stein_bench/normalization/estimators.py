"""Shrinkage estimators of channel means and variances: pure functions of (mean, variance, count).

All take `mean` and `variance` of shape ``(C,)`` (the sample mean m and the *biased* sample variance s of
every channel) and `count`, the number N of elements per channel as a number or 0-d tensor (infinity if
unknown or without sampling noise), and return the estimates in the same shape. They are differentiable and compute
in float32 or wider, whatever the inputs' dtype. All values and gradients are finite for finite input, including
zero means, dead channels (s = 0) and N = 1. With fewer than three channels only ridge and lasso shrink the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from stein_bench.normalization.names import EstimatorName, parse_estimator

Count = float | Tensor
Estimator = Callable[[Tensor, Tensor, Count], tuple[Tensor, Tensor]]

SMALLEST_VARIANCE = 1e-38  # smaller variances count as this value in the geometric mean
_SMALLEST_SCALE = 2.0**-126  # the smallest normal float32: dividing by less may give infinity
SMALLEST_ENERGY = 1e-20  # a nonzero vector over its `positive_scale` has a larger sum of squares


def sample(mean: Tensor, variance: Tensor, count: Count) -> tuple[Tensor, Tensor]:
    """Return m and s unchanged: plain batch normalization, no shrinkage."""
    del count
    return widen(mean), widen(variance)


def stein(mean: Tensor, variance: Tensor, count: Count) -> tuple[Tensor, Tensor]:
    """Shrink the mean towards zero and pull the variances towards a multiple of their geometric mean.

    ``m' = (1 - (C-2)·C/(C+1)·v/Σm²)·m`` with ``v = mean_c((m - mean_c(m))²)``, and
    ``s' = N/(N+1)·s + M·G`` with ``G = exp(mean_c(log s))`` and ``M = 4(C-1)·(N/(N+1))/((N-1)·C+2)``.
    Source: arXiv 2507.08261. With N = ∞ the variance is not shrunk.
    """
    mean, variance = widen(mean), widen(variance)
    best_scale, pull = variance_pull(mean.numel(), count)
    return _stein_mean(mean), best_scale * variance + pull * geometric_mean(variance)


def stein_mean(mean: Tensor, variance: Tensor, count: Count) -> tuple[Tensor, Tensor]:
    """Shrink the mean towards zero as `stein` does; keep the sample variance.

    Source: the ablation of arXiv 2507.08261.
    """
    del count
    return _stein_mean(widen(mean)), widen(variance)


def jsnorm(mean: Tensor, variance: Tensor, count: Count) -> tuple[Tensor, Tensor]:
    """Shrink mean and variance towards zero by the relative spread of each over the channels.

    ``m' = (1 - (C-2)·v/Σm²)·m`` and ``s' = (1 - (C-2)·Var_c(s)/Σs²)·s``, both spreads biased (divided by C).
    Source: arXiv 2312.00313.
    """
    del count
    mean, variance = widen(mean), widen(variance)
    shrinkable = max(mean.numel() - 2, 0)
    return (
        mean * (1 - shrinkable * relative_spread(mean)),
        variance * (1 - shrinkable * relative_spread(variance)),
    )


def james_stein(mean: Tensor, variance: Tensor, count: Count) -> tuple[Tensor, Tensor]:
    """Shrink the mean towards zero according to its sampling noise, and scale the variance.

    ``m' = (1 - (C-2)·τ²/Σm²)₊·m`` with ``τ² = mean_c(s)/N``, the positive-part estimator (James and Stein
    1961), and ``s' = N/(N+1)·s``, the best equivariant estimator (Stein 1964). With N = ∞ nothing is shrunk.
    """
    mean, variance = widen(mean), widen(variance)
    shrunk_variance = variance / (1 + 1 / count)
    if mean.numel() < 3:
        return mean, shrunk_variance
    scale = positive_scale(mean)  # cancels out, and keeps the squares in range
    energy = (mean / scale).square().sum()
    noise = (mean.numel() - 2) * variance.mean() / count / scale / scale
    positive = energy > noise
    kept = 1 - noise / torch.where(positive, energy, 1)
    return mean * torch.where(positive, kept, 0), shrunk_variance


def ridge(mean: Tensor, variance: Tensor, count: Count, *, strength: float) -> tuple[Tensor, Tensor]:
    """Scale mean and variance towards zero: ``m' = m·N/(N+λ)``, ``s' = s/(1+λ)``, λ = `strength`.

    Source: the ridge baseline of the code published with arXiv 2507.08261.
    """
    return widen(mean) / (1 + strength / count), widen(variance) / (1 + strength)


def lasso(mean: Tensor, variance: Tensor, count: Count, *, strength: float) -> tuple[Tensor, Tensor]:
    """Soft-threshold mean and variance: ``m' = sign(m)·max(|m|-λ/(2N), 0)``, ``s' = max(s-λ/2, 0)``.

    λ is `strength`. Source: the lasso baseline of the code published with arXiv 2507.08261.
    """
    if strength == 0:  # else the gradient of the soft threshold at a zero mean would be 0 instead of 1
        return sample(mean, variance, count)
    mean = widen(mean)
    threshold = strength / (2 * count)
    return mean.sign() * (mean.abs() - threshold).clamp_min(0), (widen(variance) - strength / 2).clamp_min(0)


ESTIMATORS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "sample": sample,
    "stein": stein,
    "stein-mean": stein_mean,
    "jsnorm": jsnorm,
    "james-stein": james_stein,
    "ridge": ridge,
    "lasso": lasso,
}
"""Estimator family -> its function; those with a λ take it as the keyword `strength`."""


def estimator(name: str | EstimatorName) -> Estimator:
    """Return the estimator of that name as a function of (mean, variance, count).

    Raises:
        UsageError: the name is unknown, or its λ is invalid.
    """
    parsed = parse_estimator(name) if isinstance(name, str) else name
    if parsed.own is not None:
        return parsed.own
    function = ESTIMATORS[parsed.family]
    return function if parsed.strength is None else partial(function, strength=parsed.strength)


def widen(values: Tensor) -> Tensor:
    """Return `values` as float32, or unchanged if they are float32 or float64."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def relative_spread(values: Tensor) -> Tensor:
    """Return ``mean_c((a - mean_c(a))²)/Σa²`` of a vector a, a number in [0, 1/C]; 0 for the zero vector."""
    unit = values / positive_scale(values)  # scale-invariant: neither the ratio nor its gradient changes
    energy = unit.square().sum()
    return unit.var(correction=0) / energy.clamp_min(SMALLEST_ENERGY)


def variance_pull(channels: int, count: Count) -> tuple[Count, Count]:
    """Return the factors ``N/(N+1)`` and ``M`` by which `stein` combines variances and their geometric mean."""
    best_scale = 1 / (1 + 1 / count)  # also for N = ∞
    return best_scale, 4 * (channels - 1) * best_scale / ((count - 1) * channels + 2)


def geometric_mean(variance: Tensor) -> Tensor:
    """Return ``exp(mean_c(log(max(s, 1e-38))))``, with zero gradient where s is below the bound."""
    return variance.clamp_min(SMALLEST_VARIANCE).log().mean().exp()


def _stein_mean(mean: Tensor) -> Tensor:
    """Return ``(1 - (C-2)·C/(C+1)·v/Σm²)·m``; m itself for fewer than three channels."""
    channels = mean.numel()
    return mean * (1 - max(channels - 2, 0) * channels / (channels + 1) * relative_spread(mean))


def positive_scale(values: Tensor) -> Tensor:
    """Return the largest magnitude as a positive constant: no gradient passes through it."""
    return values.detach().abs().amax(0).clamp_min(_SMALLEST_SCALE)
