"""Statistics over training seeds: pure functions of a few numbers, no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class PairedT:
    """A mean difference over n pairs; `sd`, `interval` and `p` are None where n = 1.

    `interval` is the 95 % t interval, `p` the two-sided p of the paired t test.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    p: float | None


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the standard deviation (n - 1) of at least one value; no deviation of a single one."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def paired_t(first: Sequence[float], second: Sequence[float]) -> PairedT:
    """Compare figures of the same seeds, second minus first, with the seed as the replicate.

    It takes the differences as normal, which a few seeds cannot show; with all of them equal the interval has no
    width, and p is 0 (or 1 where they are zero): n says how little that may mean.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).

    Raises:
        ValueError: the lengths differ, or there is no pair.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} figures cannot be paired")
    differences = [b - a for a, b in zip(first, second, strict=True)]
    n, (mean, sd) = len(differences), mean_sd(differences)
    if sd is None:
        return PairedT(n, mean, None, None, None)
    error = sd / math.sqrt(n)
    half = float(stdtrit(n - 1, 0.975)) * error
    return PairedT(n, mean, sd, (mean - half, mean + half), _two_sided(n - 1, mean, error))


def _two_sided(freedom: int, mean: float, error: float) -> float:
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return min(1.0, 2 * float(stdtr(freedom, -abs(mean) / error)))
