"""The data order: a permutation with a fixed seed, so that `--limit` does not pick a single class, or the set's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

_SEED = 20250711


def in_data_order(items: Sequence[Item]) -> list[Item]:
    """Return `items` in an order that depends only on their number."""
    # The raw bit stream is the same in all NumPy versions, unlike Generator.permutation.
    keys = np.random.PCG64(_SEED).random_raw(len(items))
    return [items[index] for index in np.argsort(keys, kind="stable")]


def sorted_note(labels: np.ndarray, count: int) -> tuple[str, ...]:
    """Return the note on a data set whose own order is kept although its `labels` are sorted, if they are.

    `count` is how many samples are used.
    """
    classes = np.unique(labels)
    if not 2 <= len(classes) < len(labels) or (np.diff(labels) != 0).sum() != len(classes) - 1:
        return ()
    if count < len(labels):
        used = len(np.unique(labels[:count]))
        what = f"the first {count} samples are from {used} of {len(classes)} classes"
    else:
        what = "--limit would take the first classes only"
    return (f"the data set's own order is kept, and it is sorted by class: {what}",)


def unique_ids(names: Sequence[str], prefixes: Sequence[str]) -> tuple[str, ...]:
    """Return the `names`, each behind its prefix if any of them occurs twice."""
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{prefix}/{name}" for prefix, name in zip(prefixes, names, strict=True))
