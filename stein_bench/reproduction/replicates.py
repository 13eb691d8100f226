"""Statistics over training seeds: pure functions of a few numbers, no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

ROUNDING = 1e-12
"""Differences whose standard deviation is at most this count as equal."""


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
