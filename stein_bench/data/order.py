"""The order of samples sorted by class: permuted by a fixed seed, so that a limit does not select one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

_SEED = 20250711


def in_data_order(items: Sequence[Item]) -> list[Item]:
    """Return `items` in an order that depends on their number alone."""
    # The raw bit stream, because NumPy keeps it the same in all versions, unlike Generator.permutation.
    keys = np.random.PCG64(_SEED).random_raw(len(items))
    return [items[index] for index in np.argsort(keys, kind="stable")]
