"""Confidence intervals for the ratio of two risks estimated from the same batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from stein_bench.theory.names import Verdict


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio of mean losses, with the statistics that its intervals need.

    Attributes:
        ratio: mean loss of the estimator over that of the sample estimator.
        error: standard error of the ratio (delta method).
        skewness: of its per-batch influences.
        draws: number of batches.
        same: whether both have the same loss in every batch.
    """

    ratio: float
    error: float
    skewness: float
    draws: int
    same: bool

    def interval(self, miss: float) -> tuple[float, float]:
        """Return the two-sided interval that misses the true ratio with probability `miss` (asymptotically).

        Losses are skewed, the more so the fewer channels and elements there are. Hall's transformation corrects
        for the skewness of the studentized mean (P. Hall 1992, J. R. Statist. Soc. B 54, 221-228); the quantile is
        Student's.
        """
        quantile = student_quantile(1 - miss / 2, self.draws - 1)
        return (
            self.ratio - self.error * _unskewed(quantile, self.skewness, self.draws),
            self.ratio - self.error * _unskewed(-quantile, self.skewness, self.draws),
        )

    def verdict(self, miss: float) -> Verdict:
        """Return the verdict on which risk is smaller; it is wrong with probability at most `miss`."""
        if self.same:
            return "same"
        low, high = self.interval(miss)
        if high < 1:
            return "dominates"
        return "does not" if low > 1 else "undecided"


def estimate_ratio(losses: Tensor, reference: Tensor) -> RatioEstimate:
    """Estimate the ratio of the mean of `losses` to that of `reference`, (n,) each, paired by batch."""
    scale = reference.mean()
    ratio = losses.mean() / scale
    influence = (losses - ratio * reference) / scale
    return _estimate(ratio, influence, 1, torch.equal(losses, reference))


def estimate_known_ratio(losses: Tensor, reference: Tensor, expected: float, controls: Tensor) -> RatioEstimate:
    """Estimate the ratio of the mean of `losses` to `expected`, the known mean of `reference`, paired by batch.

    `controls`, (n, k), are control variates: quantities of the same batches with expectation 0, among them the
    reference's loss minus `expected`. Regression on them removes sampling error and narrows the interval; if `losses`
    is a linear combination of them, the ratio is exact.
    """
    if torch.equal(losses, reference):
        return RatioEstimate(1.0, 0.0, 0.0, losses.numel(), True)
    columns = torch.cat([torch.ones_like(controls[:, :1]), controls], 1)
    shares = losses / expected
    fit = torch.linalg.lstsq(columns, shares.unsqueeze(1)).solution.squeeze(1)
    return _estimate(fit[0], shares - columns @ fit, columns.shape[1], False)


def _estimate(ratio: Tensor, influence: Tensor, fitted: int, same: bool) -> RatioEstimate:
    draws = influence.numel()
    deviation = influence.square().mean().sqrt()
    skewness = (influence / deviation).pow(3).mean() if deviation > 0 else deviation
    error = deviation / (draws - fitted) ** 0.5
    return RatioEstimate(float(ratio), float(error), float(skewness), draws, same)


def _unskewed(value: float, skewness: float, draws: int) -> float:
    """Return the T at which Hall's transformation ``((1+kT)³-1)/(3k) + k/2``, k = skewness/(3√n), equals `value`."""
    k = skewness / (3 * math.sqrt(draws))
    if abs(k) < 1e-9:
        return value
    cube = 1 + 3 * k * (value - k / 2)
    root = math.cbrt(cube)
    return (root - 1) / k


def student_quantile(chance: float, freedom: float) -> float:
    """Return the quantile of Student's t by its expansion in 1/ν, accurate to 1 % from 39 degrees of freedom on."""
    z = NormalDist().inv_cdf(chance)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    first, second, third = terms
    return z + first / freedom + second / freedom**2 + third / freedom**3
