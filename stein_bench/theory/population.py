"""True means and variances of a simulated layer's channels, and the risks known in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stein_bench.attacks.noise import TRUNCATION
from stein_bench.normalization.estimators import variance_pull
from stein_bench.theory.settings import Population


def true_means(channels: int, population: Population) -> Tensor:
    """Return the means (C,), float64: normal quantiles, scaled to exactly the given spread, around the offset."""
    return population.offset + population.spread * _scores(channels)


def true_variances(channels: int, population: Population) -> Tensor:
    """Return the variances (C,), float64, with mean 1: log-normal quantiles, in a different order from the means."""
    if population.variance_spread == 0:
        return torch.ones(channels, dtype=torch.float64)
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(0))
    variances = (population.variance_spread * _scores(channels)[order]).exp()
    return variances / variances.mean()


def _scores(channels: int) -> Tensor:
    """Return normal quantiles with mean 0 and biased standard deviation 1; zero for a single channel."""
    places = (torch.arange(channels, dtype=torch.float64) + 0.5) / channels
    scores: Tensor = torch.special.ndtri(places)
    scores = (scores - scores.flip(0)) / 2  # exactly symmetric
    return scores / scores.square().mean().sqrt() if channels > 1 else scores


_BOUND = TRUNCATION
_INSIDE = math.erf(_BOUND / math.sqrt(2))
_EDGE = 2 * math.exp(-(_BOUND**2) / 2) / math.sqrt(2 * math.pi) / _INSIDE
_SECOND = 1 - _BOUND * _EDGE
_FOURTH = 3 * _SECOND - _BOUND**3 * _EDGE

FOURTH_MOMENTS: dict[str, float] = {
    "none": 0.0,
    "gaussian": 3.0,
    "uniform": 1.8,
    "rademacher": 1.0,
    "truncated-gaussian": _FOURTH / _SECOND**2,
}
"""E[ξ⁴] of each contamination that is not clipped, scaled to standard deviation 1 (0 for none)."""


def sample_risks(variances: Tensor, count: int, contamination: str, strength: float) -> tuple[float, float] | None:
    """Return the risks of the sample mean and the biased sample variance, summed over channels, in closed form.

    None for the clipped contamination. With contaminated variance w = σ² + τ² and fourth central moment μ₄,
    the mean has risk w/N, the variance ``(N-1)/N³·((N-1)·μ₄ - (N-3)·w²) + ((N-1)/N·w - σ²)²`` per channel.
    """
    if contamination not in FOURTH_MOMENTS:
        return None
    noise = strength**2 if contamination != "none" else 0.0
    inflated = variances + noise
    fourth = 3 * variances**2 + 6 * variances * noise + FOURTH_MOMENTS[contamination] * noise**2
    scatter = (count - 1) / count**3 * ((count - 1) * fourth - (count - 3) * inflated**2)
    bias = (count - 1) / count * inflated - variances
    return float((inflated / count).sum()), float((scatter + bias**2).sum())


def gamma_variance_risk(variances: Tensor, count: int, scale: float, pull: float) -> float:
    """Return the risk of ``scale·s + pull·G`` for clean Gaussian elements, summed over channels, in closed form.

    s is gamma distributed with shape α = (N-1)/2, so that E[G] = g·(Γ(α+1/C)/Γ(α))^C with g the geometric mean of
    its scales 2σ²/N, E[G²] likewise with 2/C, and E[G·s] = E[G]·(2σ²/N)·(α+1/C).
    """
    channels, shape = variances.numel(), (count - 1) / 2
    scales = 2 * variances / count
    ratio = scale * (count - 1) / count
    linear = (scale**2 * 2 * (count - 1) / count**2 + (ratio - 1) ** 2) * variances.square().sum()
    geometric = scales.log().mean().exp()
    first, second = (
        geometric**power * math.exp(channels * (math.lgamma(shape + power / channels) - math.lgamma(shape)))
        for power in (1, 2)
    )
    cross = (scale * scales * (shape + 1 / channels) - variances).sum()
    return float(linear + 2 * pull * first * cross + pull**2 * channels * second)


def plain_james_stein_risk(means: Tensor, noise: float) -> float:
    """Return the risk of the plain James-Stein mean if every channel's noise variance is known to be `noise`.

    ``τ²·(C - (C-2)²·E[1/(C-2+2K)])`` with K Poisson distributed with mean Σμ²/(2τ²) (James and Stein 1961): 2τ² if
    all means are zero, close to C·τ² if they are large; for C ≥ 3.
    """
    channels = means.numel()
    rate = float(means.square().sum()) / (2 * noise)
    width = 12 * math.sqrt(rate) + 60
    first = max(math.floor(rate - width), 0)
    counts = torch.arange(first, math.ceil(rate + width) + 1, dtype=torch.float64)
    log_weights = torch.special.xlogy(counts, torch.tensor(rate, dtype=torch.float64)) - rate - torch.lgamma(counts + 1)
    inverse = (log_weights.exp() / (channels - 2 + 2 * counts)).sum()
    return noise * float(channels - (channels - 2) ** 2 * inverse)


def known_risk(estimator: str, means: Tensor, variances: Tensor, count: int, contamination: str) -> dict[str, float]:
    """Return an estimator's risks by target where a closed form is known; none is under contamination."""
    if contamination != "none":
        return {}
    best_scale, pull = map(float, variance_pull(variances.numel(), count))
    scales = {"stein": (best_scale, pull), "stein-theorem": (best_scale, pull / 2), "james-stein": (best_scale, 0.0)}
    scales |= {"unbiased": (count / (count - 1), 0.0)}
    known = {}
    if estimator in scales:
        known["variance"] = gamma_variance_risk(variances, count, *scales[estimator])
    if estimator == "stein-theorem" and means.numel() > 2 and bool((variances == variances[0]).all()):
        known["mean"] = plain_james_stein_risk(means, float(variances[0]) / count)
    return known
