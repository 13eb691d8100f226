"""Paired comparison of two outcomes of the same samples: exact tests, interval, power. Pure functions, no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stein_bench.statistics.rates import Z95, Bits, independent_units, wilson

LEAST_BATCHES = 10
"""Smallest number of batches, or of base images, for a test that flips them whole."""
_TRIMMED = 100
"""After so many units the distribution of a flip test loses its ends that are as good as 0."""

_MOST_BUILT = 2000
"""Up to so many units the distribution of a flip test is built unit by unit, above by `_tail`."""
_NEGLIGIBLE = -45.0
"""Natural logarithm below which a value of a characteristic function counts as 0: e^-45 is 3·10^-20."""

BATCHES, BASE_IMAGES, BLOCKS = "batches", "base images", "blocks of whole batches and base images"
"""What a test flips: the samples of one depend on one another."""


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
        interval: of the difference, 95 %; it assumes independent samples, or independent base images.
        p_drop: one-sided p for the second being worse; None if the test is omitted.
        p_gain: one-sided p for the second being better; None if the test is omitted.
        units: the independent units of the tests: samples, batches or base images.
        graded: whether a sample can be partly correct, so that `lost` and `gained` do not determine the difference.
        flipped: what a test flips whole, of which it needs `LEAST_BATCHES`.
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
    flipped: str = BATCHES

    @property
    def p(self) -> float | None:
        """The two-sided p: twice the smaller one-sided p, at most 1."""
        if self.p_drop is None or self.p_gain is None:
            return None
        return min(1.0, 2 * min(self.p_drop, self.p_gain))


def paired(first: Bits, second: Bits, batch_size: int | None = None, cluster: int = 1) -> Paired:
    """Compare two outcomes of the same samples, in the same order.

    Args:
        first, second: which samples are correct.
        batch_size: None if predictions do not depend on the batch. Else the size of the consecutive batches within
            which they do.
        cluster: the number of consecutive samples that are versions of one base image.

    Independent samples get exact McNemar tests. Otherwise the smallest blocks of consecutive samples that are
    independent of each other (batches, base images, or whole numbers of both) are flipped, and with fewer than
    `LEAST_BATCHES` the tests are omitted.

    Raises:
        ValueError: the lengths differ.
    """
    counts, block = count(first, second), block_size(batch_size, cluster)
    if block is None:
        drop, gain = mcnemar(counts.lost, counts.gained), mcnemar(counts.gained, counts.lost)
        return _paired(counts, drop, gain, counts.n)
    losses, flipped = batch_losses(first, second, block), _flipped(batch_size, cluster)
    if losses.size < LEAST_BATCHES:
        return _paired(counts, None, None, losses.size, cluster, flipped)
    return _paired(counts, *flip_tests(losses), losses.size, cluster, flipped)


def block_size(batch_size: int | None, cluster: int) -> int | None:
    """Return the size of the smallest blocks that split neither a batch nor a base image; None if all are single."""
    if batch_size is None:
        return None if cluster == 1 else cluster
    return math.lcm(batch_size, cluster)


def _flipped(batch_size: int | None, cluster: int) -> str:
    if cluster == 1:
        return BATCHES
    return BASE_IMAGES if batch_size is None else BLOCKS


def _paired(
    counts: Counts,
    p_drop: float | None,
    p_gain: float | None,
    units: int,
    cluster: int = 1,
    flipped: str = BATCHES,
) -> Paired:
    first, second = ((counts.both + only) / counts.n if counts.n else math.nan for only in (counts.lost, counts.gained))
    return Paired(
        n=counts.n,
        lost=counts.lost,
        gained=counts.gained,
        first=first,
        second=second,
        difference=counts.difference,
        interval=difference_interval(counts, cluster=cluster),
        p_drop=p_drop,
        p_gain=p_gain,
        units=units,
        flipped=flipped,
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


def difference_interval(counts: Counts, z: float = Z95, *, cluster: int = 1) -> tuple[float, float]:
    """Return the interval of the paired difference, second accuracy minus first, within [-1, 1].

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998) 2635-2650, method 10: the Wilson intervals of the two accuracies,
    combined as squares with their correlation. Without samples: [-1, 1]. Of samples that are versions of base images,
    `cluster` of each, it is the interval of the same shares of as many samples as there are whole base images.
    """
    if counts.n == 0:
        return (-1.0, 1.0)
    n = counts.n if cluster == 1 else independent_units(counts.n, cluster)
    shrink = n / counts.n
    first, second = (wilson((counts.both + only) * shrink, n, z) for only in (counts.lost, counts.gained))
    phi = _correlation(counts, shrink)
    below, above = (
        (second.value - second.low, first.high - first.value),
        (second.high - second.value, first.value - first.low),
    )
    low, high = (math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y)) for x, y in (below, above))
    return max(-1.0, counts.difference - low), min(1.0, counts.difference + high)


def _correlation(counts: Counts, shrink: float) -> float:
    """Return the correlation of the two outcomes; if positive, its numerator is reduced by n/2 (at most to 0).

    `shrink` is the number of independent samples over n, and the numerator and n are those of so many samples.
    """
    first, second = counts.both + counts.lost, counts.both + counts.gained
    product = first * (counts.n - first) * second * (counts.n - second)
    if product == 0:
        return 0.0
    numerator = float(counts.both * counts.neither - counts.lost * counts.gained)
    if numerator > 0:
        numerator = max(0.0, numerator - counts.n / 2 / shrink)
    return numerator / math.sqrt(product)


def batch_losses(first: Bits, second: Bits, batch_size: int) -> NDArray[np.int64]:
    """Return, for each batch of consecutive samples, how many more are correct in the first than in the second."""
    losses = first.astype(np.int8) - second.astype(np.int8)
    starts = np.arange(0, losses.size, batch_size)
    return np.add.reduceat(losses, starts, dtype=np.int64) if losses.size else losses.astype(np.int64)


def flip_test(losses: NDArray[np.int64]) -> float:
    """Return the one-sided p of the paired permutation test that exchanges the two outcomes of whole batches.

    If the two models are exchangeable, each batch's loss is as likely as its negative, independently of the other
    batches: p is the share of all sign patterns whose sum is at least the observed one. Losses are integers, so the
    distribution of the sum is computed exactly, batch by batch; only sums less probable than the smallest normal float
    are dropped. For more than `_MOST_BUILT` it follows from its characteristic function, also without an approximation:
    p has nine digits or more, however small, and tens of thousands of base images take a fraction of a second.

    Source: R. A. Fisher, The Design of Experiments (1935), chapter III.
    """
    return flip_tests(losses)[0]


def flip_tests(losses: NDArray[np.int64]) -> tuple[float, float]:
    """Return the `flip_test` of the losses and that of their negatives, from one distribution."""
    sizes = np.abs(losses[losses != 0])
    observed = (int(losses[losses > 0].sum()), -int(losses[losses < 0].sum()))
    if sizes.size > _MOST_BUILT:
        values, counts = np.unique(sizes, return_counts=True)
        drop, gain = (_tail(values, counts, reached) for reached in observed)
        return drop, gain
    # The sum over a sign pattern is twice the sum of its positive part minus the sum of all.
    distribution, lowest = np.ones(1), 0
    for number, size in enumerate(sizes.tolist(), 1):
        half = distribution * 0.5
        distribution = np.zeros(half.size + size)
        distribution[: half.size] = half
        distribution[size:] += half
        if number % _TRIMMED == 0:
            kept = np.flatnonzero(distribution >= np.finfo(np.float64).tiny)
            lowest += int(kept[0])
            distribution = distribution[kept[0] : kept[-1] + 1]
    drop, gain = (min(1.0, float(distribution[max(reached - lowest, 0) :].sum())) for reached in observed)
    return drop, gain


def _tail(values: NDArray[np.int64], counts: NDArray[np.int64], reached: int) -> float:
    """Return P(S ≥ reached) for S = Σ d·B_d with independent B_d ~ Bin(n_d, 1/2), over the values d with counts n_d.

    With P_θ(S = k) = e^{θk} P(S = k) / M, where M makes them add to 1, P(S ≥ r) = M Σ_{j≥0} e^{-θ(r+j)} P_θ(S = r + j).
    θ is such that r is the mean of P_θ: so near it there is no cancellation, and P_θ is the Fourier transform of its
    characteristic function, a product over the few values. Source: the tilting of F. Esscher (1932), here without the
    normal approximation.
    """
    total = int(values @ counts)
    if 2 * reached <= total:
        return 1.0 - _tail(values, counts, total - reached + 1)  # S and total - S are distributed alike
    if reached >= total:
        return 0.5 ** int(counts.sum()) if reached == total else 0.0
    theta = _tilt(values, counts, reached)
    shares = 1 / (1 + np.exp(-theta * values))
    spread = math.sqrt(float((counts * values**2 * shares * (1 - shares)).sum()))
    points = 1 << math.ceil(math.log2(24 * spread + 2 * int(values.max()) + 2))
    probabilities = np.fft.irfft(_characteristic(values, counts, shares, reached, points).conj(), points)
    weights = np.exp(-theta * np.arange(points // 2))
    log_m = float((counts * (np.logaddexp(0, theta * values) - math.log(2))).sum())
    return min(1.0, math.exp(log_m - theta * reached) * max(0.0, float(weights @ probabilities[: points // 2])))


def _tilt(values: NDArray[np.int64], counts: NDArray[np.int64], reached: int) -> float:
    """Return θ ≥ 0 such that Σ n_d d / (1 + e^{-θd}) is `reached`, by bisection; it lies between its bounds."""
    low, high = 0.0, 1.0

    def mean(theta: float) -> float:
        return float((counts * values / (1 + np.exp(-theta * values))).sum())

    while mean(high) < reached:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < reached else (low, middle)
    return low


def _characteristic(
    values: NDArray[np.int64], counts: NDArray[np.int64], shares: NDArray[np.float64], reached: int, points: int
) -> NDArray[np.complex128]:
    """Return E exp(it(S - reached)) at t = 2πm / points for m from 0 to points / 2, S = Σ d·B_d, B_d ~ Bin(n_d, q_d).

    The magnitude comes first, and the phase is computed only where it is not negligible.
    """
    kept = np.arange(points // 2 + 1)
    magnitudes = np.zeros(kept.size)
    for i in np.argsort(-counts * values):
        halves = np.sin(math.pi / points * (values[i] * kept % points)) ** 2
        magnitudes += counts[i] / 2 * np.log1p(-np.minimum(4 * shares[i] * (1 - shares[i]) * halves, 1 - 1e-300))
        near = magnitudes > _NEGLIGIBLE
        kept, magnitudes = kept[near], magnitudes[near]
    angles = 2 * math.pi / points * kept
    phases = angles * float((counts * shares * values).sum() - reached)
    for d, n, q in zip(values.tolist(), counts.tolist(), shares.tolist(), strict=True):
        phases += n * (np.angle(1 - q + q * np.exp(1j * d * angles)) - q * d * angles)
    found = np.zeros(points // 2 + 1, np.complex128)
    found[kept] = np.exp(magnitudes + 1j * phases)
    return found


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
