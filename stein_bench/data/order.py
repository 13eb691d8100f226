"""The data order: a permutation with a fixed seed, so that `--limit` does not pick a single class, or the set's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")

_SEED = 20250711


def data_order(count: int) -> NDArray[np.int64]:
    """Return an order of `count` items that depends only on their number."""
    # The raw bit stream is the same in all NumPy versions, unlike Generator.permutation.
    return np.argsort(np.random.PCG64(_SEED).random_raw(count), kind="stable").astype(np.int64, copy=False)


def in_data_order(items: Sequence[Item]) -> list[Item]:
    """Return `items` in an order that depends only on their number."""
    return [items[index] for index in data_order(len(items)).tolist()]


def sorted_note(labels: np.ndarray, count: int) -> tuple[str, ...]:
    """Return the note on a data set whose own order is kept although its `labels` are sorted, if they are.

    `count` is how many samples are used.
    """
    changes = np.count_nonzero(labels[1:] != labels[:-1])
    if len(labels) and changes > int(labels.max()) - int(labels.min()):
        return ()  # more than there can be classes: no need to sort them
    classes = np.unique(labels)
    if not 2 <= len(classes) < len(labels) or changes != len(classes) - 1:
        return ()
    if count < len(labels):
        used = len(np.unique(labels[:count]))
        what = f"the first {count} samples are from {used} of {len(classes)} classes"
    else:
        what = "--limit would take the first classes only"
    return (f"the data set's own order is kept, and it is sorted by class: {what}",)
