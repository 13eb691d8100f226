"""Pixel counts per image and class, and the metrics (mIoU and others), intervals and paired tests based on them.

Pure functions over NumPy arrays, no torch. Void pixels are never counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

RESAMPLES = 2000
"""Number of bootstrap samples for an interval."""
PERMUTATIONS = 4999
"""Number of random exchanges for a p, if there are too many to try all."""
SEED = 20250711
"""Fixed, so that intervals and p depend on the counts alone."""
ROWS = 250
"""Number of random rows held in memory at a time."""
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Pixels of n images by class, each (n, K) int64.

    Attributes:
        intersection: pixels of a class that are predicted as that class.
        prediction: labeled pixels that are predicted as a class.
        target: pixels of a class.
    """

    intersection: Ints
    prediction: Ints
    target: Ints

    def __len__(self) -> int:
        return int(self.target.shape[0])

    def select(self, indices: NDArray[np.int64]) -> ClassCounts:
        """Return the counts of the images at those positions."""
        return ClassCounts(self.intersection[indices], self.prediction[indices], self.target[indices])

    def stacked(self) -> Floats:
        """Return the three counts side by side, (n, 3·K): the sum of rows gives the counts of a set of images."""
        return np.concatenate([self.intersection, self.prediction, self.target], axis=1).astype(np.float64)

    def widened(self, classes: int) -> ClassCounts:
        """Return the counts padded with zero columns to that many classes: the added classes do not occur."""
        missing = ((0, 0), (0, classes - self.target.shape[1]))
        return ClassCounts(*(np.pad(part, missing) for part in (self.intersection, self.prediction, self.target)))

    def total(self) -> Floats:
        """Return `stacked` summed over the images, (3·K,)."""
        return np.asarray(self.stacked().sum(axis=0))


def aligned(first: ClassCounts, second: ClassCounts) -> tuple[ClassCounts, ClassCounts]:
    """Return both with the same columns: reports store no classes beyond the last one that occurs."""
    classes = max(first.target.shape[1], second.target.shape[1])
    return first.widened(classes), second.widened(classes)


def where(condition: NDArray[np.bool_], first: ClassCounts, second: ClassCounts) -> ClassCounts:
    """Return the first counts for images for which the condition holds, else the second."""
    first, second = aligned(first, second)
    rows = condition[:, None]
    return ClassCounts(
        np.where(rows, first.intersection, second.intersection),
        np.where(rows, first.prediction, second.prediction),
        np.where(rows, first.target, second.target),
    )


METRICS = ("miou", "pixel_accuracy", "precision", "recall", "f1", "jaccard")
"""The metrics that `metrics` returns, in this order."""


def metrics(totals: Floats) -> Floats:
    """Return the `METRICS` of counts (…, 3·K) as an array (…, 6); NaN if no pixel is labeled.

    With I, P and T the counts of a class over the whole set, and means over the classes that occur in targets or
    predictions (a class in neither is left out):

    - miou: mean of I / (P + T - I), the macro-averaged Jaccard index;
    - pixel_accuracy: ΣI / ΣT;
    - precision, recall, f1: means of I / P, I / T and 2·I / (P + T), with precision (or recall) 0 for a class without
      predictions (or targets): macro averages, f1 the mean of per-class f1;
    - jaccard: ΣI / Σ(P + T - I), micro-averaged.
    """
    intersection, prediction, target = np.split(totals, 3, axis=-1)
    union = prediction + target - intersection
    present = union > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        classes = present.sum(axis=-1)

        def macro(above: Floats, below: Floats) -> Floats:
            return np.asarray(np.where(below > 0, above / below, 0.0).sum(axis=-1) / classes)

        return np.stack(
            [
                macro(intersection, union),
                intersection.sum(axis=-1) / target.sum(axis=-1),
                macro(intersection, prediction),
                macro(intersection, target),
                macro(2 * intersection, prediction + target),
                intersection.sum(axis=-1) / union.sum(axis=-1),
            ],
            axis=-1,
        )


def miou(totals: Floats) -> Floats:
    """Return the mIoU of counts (…, 3·K), shape (…); see `metrics`."""
    intersection, prediction, target = np.split(totals, 3, axis=-1)
    union = prediction + target - intersection
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(union > 0, intersection / union, 0.0)
        return np.asarray(shares.sum(axis=-1) / (union > 0).sum(axis=-1))


def image_miou(counts: ClassCounts) -> Floats:
    """Return the mIoU of each image on its own, (n,); NaN for an image without labeled pixels."""
    return miou(counts.stacked())


def _resamples(images: int) -> list[Floats]:
    """Return how often each image occurs in each bootstrap sample, in blocks of rows."""
    generator = np.random.default_rng(SEED)
    chances = np.full(images, 1 / images)
    return [generator.multinomial(images, chances, ROWS).astype(np.float64) for _ in range(RESAMPLES // ROWS)]


def intervals(draws: list[ClassCounts]) -> Floats | None:
    """Return the 95 % interval of each of the `METRICS`, (6, 2), by the percentile bootstrap over images.

    Images are drawn with replacement, not pixels: the pixels of an image are far from independent. With several
    `draws` of a corruption an image is resampled with all its draws, and the metric is the mean over the draws. None
    for fewer than two images.
    Source: B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    images = len(draws[0])
    if images < 2:
        return None
    stacked = [draw.stacked() for draw in draws]
    found = [np.mean([metrics(weights @ counts) for counts in stacked], axis=0) for weights in _resamples(images)]
    return np.asarray(np.nanquantile(np.concatenate(found), [0.025, 0.975], axis=0).T)


def difference_interval(first: ClassCounts, second: ClassCounts) -> tuple[float, float]:
    """Return the 95 % interval of the second mIoU minus the first, by the paired percentile bootstrap over images.

    With fewer than two images: [-1, 1].
    """
    if len(first) < 2:
        return (-1.0, 1.0)
    first, second = aligned(first, second)
    one, other = first.stacked(), second.stacked()
    found = [miou(weights @ other) - miou(weights @ one) for weights in _resamples(len(first))]
    low, high = np.nanquantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def permutation_test(first: ClassCounts, second: ClassCounts, unit: int = 1) -> tuple[float, float]:
    """Return the one-sided p that the second mIoU is lower, and that it is higher, by exchanging outcomes of images.

    If the two are exchangeable, swapping their outcomes of an image leaves the distribution unchanged: p is the share
    of all swaps, including the observed one, with a difference at least as large. All are tried if there are few, else
    `PERMUTATIONS` random ones and the observed one.
    Source: R. A. Fisher, The Design of Experiments (1935), chapter III; E. W. Noreen, Computer-Intensive Methods for
    Testing Hypotheses (1989), for approximate randomization with a statistic of the whole set.

    Args:
        first, second: counts of the same images, in the same order.
        unit: how many consecutive images are exchanged together (the batch).
    """
    first, second = aligned(first, second)
    moves = second.stacked() - first.stacked()
    if unit > 1 and len(moves):
        moves = np.add.reduceat(moves, np.arange(0, len(moves), unit))
    moves = moves[moves.any(axis=1)]  # exchanging equal outcomes changes nothing
    one, other = first.total(), second.total()
    observed = float(miou(other) - miou(one))
    lower = higher = total = 0
    for swaps in _swaps(len(moves)):
        moved = swaps @ moves
        differences = miou(other - moved) - miou(one + moved)
        lower += int((differences <= observed + ROUNDING).sum())
        higher += int((differences >= observed - ROUNDING).sum())
        total += len(swaps)
    return lower / total, higher / total


def _swaps(units: int) -> list[Floats]:
    """Return rows of 0 and 1, a column per unit: all patterns, or the observed one (all 0) and random ones."""
    if 2**units <= PERMUTATIONS + 1:
        patterns = np.arange(2**units)[:, None] >> np.arange(units)
        return [(patterns & 1).astype(np.float64)]
    generator = np.random.default_rng(SEED)
    blocks = [np.zeros((1, units))]
    for start in range(0, PERMUTATIONS, ROWS):
        rows = min(ROWS, PERMUTATIONS - start)
        blocks.append(generator.integers(0, 2, (rows, units)).astype(np.float64))
    return blocks


def least_p(units: int) -> float:
    """Return the smallest p that `permutation_test` can give if that many units differ."""
    return 1.0 / min(1 << units, PERMUTATIONS + 1)


def published_js(right: Ints, pixels: int, batch_size: int) -> float:
    """Return the metric that the code of arXiv 2507.08261 calls ``js`` on Cityscapes; it is not mIoU.

    For each batch of consecutive images it is the micro-averaged Jaccard index over all pixels, including void ones,
    which always count as wrong: right / (2·all - right). Batches are averaged with equal weight, whatever their size.

    Args:
        right: correctly predicted pixels of each image, (n,).
        pixels: pixels of an image, including void ones.
        batch_size: images per batch.
    """
    starts = np.arange(0, right.size, batch_size)
    found = np.add.reduceat(right.astype(np.float64), starts)
    everything = pixels * np.diff(np.append(starts, right.size))
    return float(np.mean(found / (2 * everything - found)))
