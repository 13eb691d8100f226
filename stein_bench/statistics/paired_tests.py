"""Paired comparison of two outcomes of the same samples: exact tests, interval, power. Pure functions, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stein_bench.statistics.rates import Z95, Bits, wilson

LEAST_BATCHES = 10
"""Smallest number of batches for a test that flips whole batches."""


@dataclass(frozen=True)
class Counts:
    """The 2×2 table of paired outcomes: correct in both, `lost` (correct in the first only), `gained`, `neither`."""

    both: int
    lost: int
    gained: int
    neither: int

    @property
    def n(self) -> int:
        """The number of samples."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def difference(self) -> float:
        """The second accuracy minus the first, in [-1, 1]; NaN without samples."""
        return (self.gained - self.lost) / self.n if self.n else math.nan


@dataclass(frozen=True)
class Paired:
    """A paired comparison of a first and a second outcome of the same n samples.

    Attributes:
        n: the number of samples.
        lost, gained: samples that are correct in the first only and in the second only (for images with an mIoU each:
            images whose second mIoU is lower, and higher).
        first, second: the two accuracies (or mIoU).
        difference: the second minus the first.
        interval: of the difference, 95 %; it assumes independent samples.
        p_drop: one-sided p for the second being worse; None if the test is omitted.
        p_gain: one-sided p for the second being better; None if the test is omitted.
        units: the independent units of the tests: samples or batches.
        graded: whether a sample can be partly correct, so that `lost` and `gained` do not determine the difference.
    """

    n: int
    lost: int
    gained: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_drop: float | None
    p_gain: float | None
    units: int
    graded: bool = False

    @property
    def p(self) -> float | None:
        """The two-sided p: twice the smaller one-sided p, at most 1."""
        if self.p_drop is None or self.p_gain is None:
            return None
        return min(1.0, 2 * min(self.p_drop, self.p_gain))


def paired(first: Bits, second: Bits, batch_size: int | None = None) -> Paired:
    """Compare two outcomes of the same samples, in the same order.

    Args:
        first, second: which samples are correct.
        batch_size: None if samples are independent: exact McNemar tests. Else the size of the consecutive batches
            within which they depend on one another: whole batches are flipped, and with fewer than `LEAST_BATCHES` the
            tests are omitted.

    Raises:
        ValueError: the lengths differ.
    """
    counts = count(first, second)
    if batch_size is None:
        drop, gain = mcnemar(counts.lost, counts.gained), mcnemar(counts.gained, counts.lost)
        return _paired(counts, drop, gain, counts.n)
    losses = batch_losses(first, second, batch_size)
    if losses.size < LEAST_BATCHES:
        return _paired(counts, None, None, losses.size)
    return _paired(counts, flip_test(losses), flip_test(-losses), losses.size)


def _paired(counts: Counts, p_drop: float | None, p_gain: float | None, units: int) -> Paired:
    first, second = ((counts.both + only) / counts.n if counts.n else math.nan for only in (counts.lost, counts.gained))
    interval = difference_interval(counts)
    return Paired(
        counts.n, counts.lost, counts.gained, first, second, counts.difference, interval, p_drop, p_gain, units
    )


def count(first: Bits, second: Bits) -> Counts:
    """Return the 2×2 table of two outcomes of the same samples.

    Raises:
        ValueError: the lengths differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"outcomes of {first.size} and {second.size} samples cannot be paired")
    both, lost, gained = (int(x.sum()) for x in (first & second, first & ~second, ~first & second))
    return Counts(both, lost, gained, int(first.size) - both - lost - gained)


def mcnemar(lost: int, gained: int) -> float:
    """Return the one-sided p of the exact McNemar test, P(X ≥ lost) for X ~ Bin(lost + gained, 1/2).

    Source: Q. McNemar, Psychometrika 12 (1947), in its exact conditional form. The first term is computed
    with integers and the others from their ratios, so that small p keep their precision; a p below the smallest
    float is 0.
    """
    trials = lost + gained
    if 2 * lost <= trials:
        return 1.0 if lost == 0 else 1.0 - mcnemar(gained + 1, lost - 1)
    k = np.arange(lost, trials, dtype=np.float64)
    ratios = np.cumprod((trials - k) / (k + 1))
    return math.comb(trials, lost) / (1 << trials) * (1.0 + float(ratios.sum()))


def difference_interval(counts: Counts, z: float = Z95) -> tuple[float, float]:
    """Return the interval of the paired difference, second accuracy minus first, within [-1, 1].

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998) 2635-2650, method 10: the Wilson intervals of the two accuracies,
    combined as squares with their correlation. Without samples: [-1, 1].
    """
    n = counts.n
    if n == 0:
        return (-1.0, 1.0)
    first, second = wilson(counts.both + counts.lost, n, z), wilson(counts.both + counts.gained, n, z)
    phi = _correlation(counts)
    below, above = (
        (second.value - second.low, first.high - first.value),
        (second.high - second.value, first.value - first.low),
    )
    low, high = (math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y)) for x, y in (below, above))
    return max(-1.0, counts.difference - low), min(1.0, counts.difference + high)


def _correlation(counts: Counts) -> float:
    """Return the correlation of the two outcomes; if positive, its numerator is reduced by n/2 (at most to 0)."""
    first, second = counts.both + counts.lost, counts.both + counts.gained
    product = first * (counts.n - first) * second * (counts.n - second)
    if product == 0:
        return 0.0
    numerator = float(counts.both * counts.neither - counts.lost * counts.gained)
    if numerator > 0:
        numerator = max(0.0, numerator - counts.n / 2)
    return numerator / math.sqrt(product)


def batch_losses(first: Bits, second: Bits, batch_size: int) -> NDArray[np.int64]:
    """Return, for each batch of consecutive samples, how many more are correct in the first than in the second."""
    losses = first.astype(np.int64) - second.astype(np.int64)
    return np.add.reduceat(losses, np.arange(0, losses.size, batch_size)) if losses.size else losses


def flip_test(losses: NDArray[np.int64]) -> float:
    """Return the one-sided p of the paired permutation test that exchanges the two outcomes of whole batches.

    If the two models are exchangeable, each batch's loss is as likely as its negative, independently of the other
    batches: p is the share of all sign patterns whose sum is at least the observed one. Losses are integers, so the
    distribution of the sum is computed exactly, batch by batch, for any number of batches.

    Source: R. A. Fisher, The Design of Experiments (1935), chapter III.
    """
    sizes = np.abs(losses[losses != 0])
    # The sum over a sign pattern is twice the sum of its positive part minus the sum of all.
    distribution = np.ones(1)
    for size in sizes.tolist():
        wider = np.zeros(distribution.size + size)
        wider[: distribution.size] = distribution
        wider[size:] += distribution
        distribution = wider / 2
    observed = int(losses[losses > 0].sum())
    return min(1.0, float(distribution[observed:].sum()))


def holm(ps: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p-values, in the order given, each in [0, 1].

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979): the i-th smallest of m is multiplied by m - i + 1, and the results are made non-decreasing.
    """
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def detectable_drop(tolerance: float, alpha: float, tests: int, n: int, units: int) -> float | None:
    """Return the smallest drop that `tests` comparisons of `n` samples could have shown: max(tolerance, ⌈log2(m/α)⌉/n).

    If nothing is gained, k samples lost in k different `units` (samples, or batches that are flipped whole) have
    p = 2^-k, and the smallest of m is compared with α/m. It is a lower bound: if samples are also gained, more
    must be lost. None if there are fewer units than needed, so that no drop could have been shown.
    """
    ratio = tests / Fraction(repr(alpha))
    needed = 0
    while 1 << needed < ratio:
        needed += 1
    return None if needed > units or n == 0 else max(tolerance, needed / n)
