"""Statistics over training seeds: pure functions of a few numbers, no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, gammaincinv, gammaln, ndtr, stdtr, stdtrit

ROUNDING = 1e-12
"""Differences whose standard deviation is at most this count as equal."""
LEVEL = 0.05
"""Level of a single test; intervals have confidence 1 - LEVEL."""
POWER = 0.8
"""The power with which a difference counts as detectable."""
MOST_SEEDS = 1000
"""The search for a number of seeds ends here."""
_QUANTILES = 20_000
"""Points of the numerical integral over the sample sd; the power has six correct decimals."""


@dataclass(frozen=True)
class PairedT:
    """A mean difference over n pairs; `sd` is None if n = 1.

    `interval` is the 95 % t interval, `p` the two-sided p of the paired t test; both are None if n = 1 or all
    differences are equal.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    p: float | None


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation (n - 1) of at least one value; a single value has no deviation."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def paired_t(first: Sequence[float], second: Sequence[float]) -> PairedT:
    """Compare values of the same seeds, second minus first, with the seed as the replicate.

    It assumes normal differences, which a few seeds cannot verify. Accuracies are multiples of one over the number of
    samples, so a few differences may be equal by chance: their deviation of 0 does not estimate the variation between
    seeds, and there is no interval and no test.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).

    Raises:
        ValueError: the lengths differ, or there is no pair.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} values cannot be paired")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    n, (mean, sd) = len(differences), mean_sd(differences)
    if sd is None or sd <= ROUNDING:
        return PairedT(n, mean, sd, None, None)
    error = sd / math.sqrt(n)
    half = float(stdtrit(n - 1, 0.975)) * error
    p = min(1.0, 2 * float(stdtr(n - 1, -abs(mean) / error)))
    return PairedT(n, mean, sd, (mean - half, mean + half), p)


def power(effect: float, n: int, level: float = LEVEL) -> float:
    """Return the power of the two-sided paired t test over `n` >= 2 seeds.

    Args:
        effect: the true mean difference, in standard deviations of the differences.
        n: the number of seeds.
        level: of the test.

    The statistic has the noncentral t distribution with n - 1 degrees of freedom and noncentrality effect·√n: given
    the sample sd it is normal, and the power is the mean over the distribution of that sd, here over `_QUANTILES`.
    Library functions of the distribution return NaN for two seeds, where the noncentrality is large.
    Source: J. Cohen, Statistical Power Analysis for the Behavioral Sciences (2nd edition, 1988), chapter 2.
    """
    shift = effect * math.sqrt(n)
    limits = float(stdtrit(n - 1, 1 - level / 2)) * _relative_sds(n)
    return float(np.mean(ndtr(shift - limits) + ndtr(-shift - limits)))


@cache
def _relative_sds(n: int) -> NDArray[np.float64]:
    """Return quantiles of the sample sd of n normal values of sd 1, at `_QUANTILES` equally spaced midpoints."""
    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.asarray(np.sqrt(2 * gammaincinv((n - 1) / 2, shares) / (n - 1)))


def detectable_effect(n: int, level: float = LEVEL) -> float | None:
    """Return the smallest true difference, in sd of the differences, that `n` seeds show with power `POWER`.

    None with fewer than two seeds, which show nothing.
    """
    if n < 2:
        return None
    low, high = 0.0, 1.0
    while power(high, n, level) < POWER:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, n, level) >= POWER else (middle, high)
    return high


def expected_width(n: int, sd: float) -> float:
    """Return the mean full width of the 95 % interval over `n` >= 2 seeds if differences are normal with this sd.

    The sample sd of n normal values is below the true one in the mean, by the factor
    √(2/(n - 1))·Γ(n/2)/Γ((n - 1)/2).
    """
    factor = math.sqrt(2 / (n - 1)) * math.exp(float(gammaln(n / 2) - gammaln((n - 1) / 2)))
    return 2 * float(stdtrit(n - 1, 1 - LEVEL / 2)) * factor * sd / math.sqrt(n)


def seeds_for_width(width: float, sd: float) -> int | None:
    """Return the smallest number of seeds whose expected interval is at most `width` wide; None above `MOST_SEEDS`."""
    return next((n for n in range(2, MOST_SEEDS + 1) if expected_width(n, sd) <= width), None)


def sd_interval(sd: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of the true standard deviation, given that of `n` >= 2 normal values (chi-square)."""
    low, high = (math.sqrt((n - 1) / float(chdtri(n - 1, tail))) * sd for tail in (LEVEL / 2, 1 - LEVEL / 2))
    return low, high
