"""Outcomes of segmented images: counts per class, because an image is not simply right or wrong."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stein_bench.errors import RunError, UsageError
from stein_bench.measures.outcome import Columns, Outcome
from stein_bench.report.results import Figure, Outcomes, PackedCounts
from stein_bench.statistics.class_counts import (
    METRICS,
    ClassCounts,
    Floats,
    difference_interval,
    image_miou,
    intervals,
    metrics,
    permutation_test,
    where,
)
from stein_bench.statistics.paired_tests import LEAST_BATCHES, Paired
from stein_bench.statistics.rates import Bits, Rate

MIOU, PIXEL_ACCURACY = METRICS.index("miou"), METRICS.index("pixel_accuracy")
CHANGED = 0.01
"""If an image's mIoU changes by more than this in another batch, its verdict has changed."""


@dataclass(frozen=True, eq=False)
class Segmented(Outcome):
    """Images with pixel counts per class; the accuracy is over all labeled pixels, the headline is the mIoU.

    Intervals come from the bootstrap over images. An image is worse in one outcome than in another if its own
    mIoU is lower.
    """

    counts: ClassCounts

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        """Return the outcome from the columns ``intersection``, ``prediction`` and ``target``, each (n, K)."""
        parts = (columns[name].astype(np.int64) for name in ("intersection", "prediction", "target"))
        return cls(ClassCounts(*parts))

    def __len__(self) -> int:
        return len(self.counts)

    def select(self, indices: NDArray[np.int64]) -> Self:
        return type(self)(self.counts.select(indices))

    def right(self) -> tuple[float, int]:
        """Return the number of correct and of labeled pixels."""
        return float(self.counts.intersection.sum()), int(self.counts.target.sum())

    def accuracy(self) -> Rate:
        """Return the share of labeled pixels that are correct, with its interval over images."""
        return self.mean_accuracy([self])

    def headline(self) -> Figure:
        """Return the mIoU over all images."""
        return self.metrics()["miou"]

    def value(self) -> float:
        return float(metrics(self.counts.total())[MIOU])

    def metrics(self) -> dict[str, Figure]:
        """Return the `class_counts.METRICS` over all images."""
        return _figures([self.counts], self._intervals)

    @classmethod
    def mean_accuracy(cls, draws: Sequence[Self]) -> Rate:
        right, of = sum(draw.right()[0] for draw in draws) / len(draws), draws[0].right()[1]
        if of == 0:
            raise RunError("none of the evaluated images has a labeled pixel: nothing can be measured.")
        found = draws[0]._intervals if len(draws) == 1 else intervals([draw.counts for draw in draws])
        low, high = (0.0, 1.0) if found is None else found[PIXEL_ACCURACY]
        return Rate(right, of, float(low), float(high))

    @classmethod
    def mean_headline(cls, draws: Sequence[Self]) -> Figure:
        """Return the mean of the mIoU over draws of the same images."""
        return cls.mean_metrics(draws)["miou"]

    @classmethod
    def mean_metrics(cls, draws: Sequence[Self]) -> dict[str, Figure]:
        counts = [draw.counts for draw in draws]
        return _figures(counts, intervals(counts))

    def under_attack(self, adversarial: Self, void: Bits) -> Self:
        return type(self)(where(adversarial.worse_than(self) & ~void, adversarial.counts, self.counts))

    def worse_than(self, other: Self) -> Bits:
        return np.asarray(self._miou < other._miou, np.bool_)

    def differs(self, other: Self) -> Bits:
        return np.asarray(np.abs(self._miou - other._miou) > CHANGED, np.bool_)

    def versus(self, other: Self, batch_size: int | None = None) -> Paired:
        """Compare the mIoU of two outcomes by permutation test over images (or whole batches) and paired bootstrap."""
        n = len(self)
        units = n if batch_size is None else -(-n // max(batch_size, 1))
        p_drop = p_gain = None
        if batch_size is None or units >= LEAST_BATCHES:
            p_drop, p_gain = permutation_test(self.counts, other.counts, max(batch_size or 1, 1))
        first, second = self.value(), other.value()
        return Paired(
            n=n,
            lost=int(other.worse_than(self).sum()),
            gained=int(self.worse_than(other).sum()),
            first=first,
            second=second,
            difference=second - first,
            interval=difference_interval(self.counts, other.counts),
            p_drop=p_drop,
            p_gain=p_gain,
            units=units,
            graded=True,
        )

    @classmethod
    def packed(cls, clean: Self, robust: Mapping[str, Self], corrupted: Mapping[str, Sequence[Self]]) -> dict[str, Any]:
        everything = [clean, *robust.values(), *(draw for draws in corrupted.values() for draw in draws)]
        occurs = sum(one.counts.target.sum(axis=0) + one.counts.prediction.sum(axis=0) for one in everything)
        classes = np.flatnonzero(occurs)
        kept = PackedCounts(
            classes=classes.tolist(),
            target=_pack(clean.counts.target[:, classes]),
            clean=clean._pair(classes),
            robust={label: outcome._pair(classes) for label, outcome in robust.items()},
            corrupted={label: [draw._pair(classes) for draw in draws] for label, draws in corrupted.items()},
        )
        return {"class_counts": kept}

    @classmethod
    def unpacked(cls, kept: Outcomes) -> tuple[Self, dict[str, Self]]:
        """Return the outcomes, whose columns are class indices up to the last class that occurs."""
        packed = kept.class_counts
        if packed is None:
            raise UsageError("there are no counts per class; the report is damaged.")
        classes = np.array(packed.classes, np.int64)

        def unpack(text: str) -> NDArray[np.int64]:
            return _spread(_unpack(text, kept.samples, len(classes)), classes)

        def counts(pair: tuple[str, str]) -> ClassCounts:
            return ClassCounts(unpack(pair[0]), unpack(pair[1]), target)

        target = unpack(packed.target)
        return cls(counts(packed.clean)), {label: cls(counts(pair)) for label, pair in packed.robust.items()}

    def _pair(self, classes: NDArray[np.int64]) -> tuple[str, str]:
        return _pack(self.counts.intersection[:, classes]), _pack(self.counts.prediction[:, classes])

    @cached_property
    def _miou(self) -> Floats:
        return image_miou(self.counts)

    @cached_property
    def _intervals(self) -> Floats | None:
        return intervals([self.counts])


def _figures(draws: list[ClassCounts], found: Floats | None) -> dict[str, Figure]:
    values = np.mean([metrics(counts.total()) for counts in draws], axis=0)
    return {
        name: Figure(
            value=None if math.isnan(values[i]) else float(values[i]),
            ci95=None if found is None else (float(found[i][0]), float(found[i][1])),
        )
        for i, name in enumerate(METRICS)
    }


def _pack(counts: NDArray[np.int64]) -> str:
    return base64.b64encode(counts.astype("<u4").tobytes()).decode()


def _unpack(text: str, images: int, classes: int) -> NDArray[np.int64]:
    try:
        found = np.frombuffer(base64.b64decode(text, validate=True), "<u4")
    except ValueError:
        raise UsageError("packed counts are not base64; the report is damaged.") from None
    if found.size != images * classes:
        raise UsageError(f"packed counts hold {found.size} numbers, not {images} × {classes} (images × classes).")
    return found.reshape(images, classes).astype(np.int64)


def _spread(counts: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move each column to the index of its class."""
    spread = np.zeros((len(counts), int(classes.max(initial=-1)) + 1), np.int64)
    spread[:, classes] = counts
    return spread
