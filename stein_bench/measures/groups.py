"""Accuracy by cell of a data set whose base images come in several versions, such as corruptions and severities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stein_bench.measures import Outcome
from stein_bench.report.results import GroupResult


def group_results(draws: Sequence[Outcome], cells: Sequence[str] | None) -> dict[str, GroupResult] | None:
    """Return the accuracy in every cell, in the order of `cells`; None if there are none.

    Args:
        draws: one outcome of all samples, or one per draw of a corruption, which are averaged.
        cells: names of the cells; sample i is in cell i modulo their number. Base images whose cells are not all there
            (the last one may be cut off) are left out, as in `common.cells_of_groups`, unless there is no other; and so
            is a cell without a sample.
    """
    if cells is None or not draws:
        return None
    count = len(draws[0]) // len(cells) * len(cells) or len(draws[0])
    return {cell: _group(draws, np.arange(place, count, len(cells))) for place, cell in enumerate(cells[:count])}


def _group(draws: Sequence[Outcome], indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> GroupResult:
    # The samples of one cell are of different base images: Wilson's interval is right.
    rate = type(draws[0]).mean_accuracy([draw.select(indices) for draw in draws])
    return GroupResult(samples=len(indices), accuracy=rate.value, ci95=(rate.low, rate.high))
