"""The data order: a permutation with a fixed seed, so that `--limit` does not pick a single class."""

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
