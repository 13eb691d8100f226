"""Samples stored as one uint8 array in memory; batches are converted to float on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from stein_bench.data.resize import Resize, resize_tensor
from stein_bench.errors import UsageError


def channels_first(stored: np.ndarray) -> Tensor:
    """Convert uint8 (b, …, C) with values 0 … 255 to contiguous float32 (b, C, …) in [0, 1]."""
    moved = np.ascontiguousarray(np.moveaxis(stored, -1, 1))
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
        if self.resize and len(self._native_shape) != 3:
            raise UsageError("volumes are not resized: omit --image-size, or resize the stored arrays")

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

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        head = f"uint8 {self.stored.shape[1:]} {self.decode.__name__} {self.resize}\n"
        digest.update(head.encode())
        digest.update(np.ascontiguousarray(self.stored[:count]).data)
