"""Rates with intervals from per-sample outcomes: pure functions over NumPy columns, no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]

COLLAPSED = 0.5
"""A variant with less than this share of the best one's clean accuracy has collapsed."""

Z95 = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True)
class Rate:
    """A share `successes / n` with its 95 % Wilson interval [`low`, `high`]; all in [0, 1]."""

    successes: float
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The point estimate; NaN if n = 0."""
        return self.successes / self.n if self.n else math.nan


def wilson(successes: float, n: int, z: float = Z95) -> Rate:
    """Return the rate with its Wilson score interval.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927). Unlike the normal approximation it stays within [0, 1] and has nonzero width at 0 and n.
    For n = 0 it is [0, 1].
    """
    if n == 0:
        return Rate(0, 0, 0.0, 1.0)
    low, high = _wilson_bounds(successes / n, n, z)
    return Rate(successes, n, low, high)


def _wilson_bounds(p: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's interval of a rate of n samples, which need not be a whole number of them."""
    z2 = z * z
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return 0.0 if p == 0 else max(0.0, center - half), 1.0 if p == 1 else min(1.0, center + half)


def upper_limit(successes: int, n: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper confidence limit of a share: the largest p with P(X ≤ successes) ≥ 1 - confidence.

    X is binomial with n trials; for no success it is 1 - (1 - confidence)^(1/n), for n = 0 it is 1.
    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26 (1934).
    """
    if successes >= n:
        return 1.0
    from scipy.special import betaincinv  # slow to import

    return float(betaincinv(successes + 1, n - successes, confidence))


def accuracy(correct: Bits, cluster: int = 1) -> Rate:
    """Return the share of correct samples, with its interval; see `mean_accuracy` for `cluster`."""
    return mean_accuracy([correct], cluster)


def mean_accuracy(correct: list[Bits], cluster: int = 1) -> Rate:
    """Return the mean accuracy over several draws of the same samples, with an interval for the independent ones.

    Draws are not additional samples: they reduce the variance of the noise, not of the samples, so n stays the same.
    Neither are the versions of one base image, which are `cluster` consecutive samples: the interval is that of as many
    samples as there are whole base images (at least one). It is conservative: the mean of a cluster, which lies in
    [0, 1], has at most the variance p(1 - p) of a single sample.
    """
    counts = [int(bits.sum()) for bits in correct]
    right, of = sum(counts) / len(counts), int(correct[0].size)
    if cluster == 1 or of == 0:
        return wilson(right, of)
    units = independent_units(of, cluster)
    found = wilson(right / of * units, units)
    return Rate(right, of, found.low, found.high)


def expected_accuracy(draws: Bits, cluster: int = 1) -> Rate:
    """Return the mean over n samples of the share of draws in which each is right, with its interval.

    The interval is Wilson's for so many samples as would give a rate the variance of this mean (the effective sample
    size: Kish 1965; in Wilson's interval: Franco, Little, Louis and Slud 2019). That variance is the one of the shares
    of the samples, to which their own draws contribute, plus what draws add that samples share, where a model draws
    once for a whole batch (two-way clustering: Cameron, Gelbach and Miller 2011). Two samples always right and two
    always wrong are added before (Agresti and Coull 1998), so that shares that happen to be equal do not give an
    interval without width. If all draws of each sample agree, the interval is that of `accuracy`.

    Args:
        draws: which draws of each sample are right, (n, D).
        cluster: as for `mean_accuracy`.
    """
    shares = draws.mean(axis=1)
    if not shares.size:
        return wilson(0, 0)
    found = float(shares.mean())
    units = independent_units(shares.size, cluster)
    clusters = shares[: units * cluster].reshape(units, -1).mean(axis=1) if units > 1 else shares[:1]
    padded = np.concatenate([clusters, [0.0, 0.0, 1.0, 1.0]])
    variance = float(padded.var()) / units + _shared_by_samples(draws)
    of_bits = float(padded.mean()) * (1 - float(padded.mean()))
    low, high = _wilson_bounds(found, of_bits / variance)
    return Rate(found * shares.size, int(shares.size), low, high)


def _shared_by_samples(draws: Bits) -> float:
    """Return the variance of the mean over draws and samples beyond that of independent draws; at least 0."""
    n, count = draws.shape
    if count < 2:
        return 0.0
    together = np.var(draws.mean(axis=0), ddof=1) / count
    alone = np.mean(np.var(draws, axis=1, ddof=1)) / (n * count)
    return max(0.0, float(together - alone))


def independent_units(samples: int, cluster: int) -> int:
    """Return for how many independent samples an interval counts: the whole clusters, at least one."""
    return max(samples // cluster, 1)


def robust_bits(clean_correct: Bits, broken: Bits) -> Bits:
    """Return which samples are robust: correct on the clean *and* on the adversarial input.

    `broken` marks verified successes only: within the budget, inside [0, 1], and misclassified.
    """
    return clean_correct & ~broken


def attack_success(clean_correct: Bits, broken: Bits) -> Rate:
    """Return the share of clean-correct samples that the attack broke."""
    return wilson(int((clean_correct & broken).sum()), int(clean_correct.sum()))
