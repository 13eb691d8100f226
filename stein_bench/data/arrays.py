"""Samples stored as one array in memory; batches are converted to float in [0, 1] on demand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from stein_bench.data.resize import Resize, resize_tensor
from stein_bench.errors import UsageError

PART_BYTES = 2**20
"""Arrays are hashed in parts of about this size, so that no second copy of a large one is in memory."""


def channels_first(stored: np.ndarray) -> Tensor:
    """Convert uint8 (b, …, C) with values 0 … 255 to contiguous float32 (b, C, …) in [0, 1]."""
    moved = np.ascontiguousarray(np.moveaxis(stored, -1, 1))
    if not moved.flags.writeable:  # torch would warn
        moved = moved.copy()
    return torch.from_numpy(moved).float().div_(255)


@dataclass(frozen=True, eq=False)
class ArrayStore:
    """A `Store` of a uint8 array `stored` (n, …), converted to float (b, C, …) in [0, 1] by `decode`.

    `resize` applies to images only: UsageError for volumes.
    """

    stored: np.ndarray
    resize: Resize | None = None
    decode: Callable[[np.ndarray], Tensor] = channels_first
    in_memory: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_resizable(len(self._native_shape), self.resize)

    @property
    def _native_shape(self) -> tuple[int, ...]:
        return tuple(self.decode(self.stored[:1]).shape[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        if self.resize is None:
            return self._native_shape
        return (self._native_shape[0], self.resize.size, self.resize.size)

    def load(self, indices: Sequence[int]) -> Tensor:
        images = self.decode(self.stored[list(indices)])
        if self.resize is None:
            return images
        # One by one, so that no image's last bits depend on the batch size.
        resized = [resize_tensor(image[None], self.resize) for image in images]
        return torch.cat(resized) if resized else images.new_zeros((0, *self.shape))

    @property
    def hash_head(self) -> str:
        """The format of the stored samples, as it precedes their bytes in the hash."""
        return f"uint8 {self.stored.shape[1:]} {self.decode.__name__} {self.resize}\n"

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        digest.update(self.hash_head.encode())
        for part in parts(self.stored.shape, self.stored.itemsize, count):
            digest.update(np.ascontiguousarray(self.stored[part]).data)


def check_resizable(axes: int, resize: Resize | None) -> None:
    """Raise a UsageError if samples of that many axes, channels included, are no images but are to be resized."""
    if resize and axes != 3:
        raise UsageError("volumes are not resized: omit --image-size, or resize the stored arrays")


def parts(shape: Sequence[int], itemsize: int, count: int) -> Iterator[slice]:
    """Yield slices of the first `count` samples of an array of that shape, each of a few megabytes."""
    step = max(1, PART_BYTES // max(1, itemsize * math.prod(shape[1:])))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
