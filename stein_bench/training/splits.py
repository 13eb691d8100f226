"""The split into training and validation samples, and the batches of an epoch."""

from __future__ import annotations

import numpy as np
import torch

from stein_bench.errors import UsageError
from stein_bench.seeds import derive_seed


def split_indices(
    count: int, share: float, seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return training and validation indices: both ascending, disjoint, and together all samples.

    Args:
        count: number of samples.
        share: share of samples held out for validation, in [0, 1).
        seed: of the draw.
        labels: (count,) classes, for a stratified draw: by cumulative rounding, every class and the whole are less than
            one sample off their share. If None, the draw is that of `torch.utils.data.random_split` with a generator of
            that seed, regardless of class.

    Raises:
        UsageError: a part would be empty.
    """
    everything = np.arange(count)
    if share == 0:
        return everything, everything[:0]
    chosen = _at_random(count, share, seed) if labels is None else _by_class(labels, share, seed)
    if not 0 < len(chosen) < count:
        raise UsageError(f"a validation share of {share:g} of {count} samples leaves one part empty.")
    return np.setdiff1d(everything, chosen), np.sort(chosen)


def _at_random(count: int, share: float, seed: int) -> np.ndarray:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
    return order[count - int(count * share) :]


def _by_class(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Shuffle within classes, concatenate the classes, and pick samples at even distances."""
    rows = []
    for label in np.unique(labels):
        generator = np.random.default_rng(derive_seed(seed, "validation", int(label)))
        rows.append(generator.permutation(np.flatnonzero(labels == label)))
    row = np.concatenate(rows)
    passed = np.floor(np.arange(len(row) + 1) * share + 0.5)
    chosen: np.ndarray = row[np.diff(passed) > 0]
    return chosen


def epoch_batches(samples: int, batch_size: int, epoch: int, seed: int) -> list[np.ndarray]:
    """Split a permutation of `samples` indices evenly into batches of `batch_size` or a little less.

    The permutation depends only on `seed` and `epoch`. Even batches avoid a tiny last one, whose statistics BN could
    not use.
    """
    order = np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(samples)
    return list(np.array_split(order, max(1, -(-samples // batch_size))))
