"""Samples in an array in a file, read batch by batch, by every process for itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from torch import Tensor

from stein_bench.data.arrays import ArrayStore, check_resizable, parts
from stein_bench.data.floats import array_store, scaling_by
from stein_bench.data.layouts import channels_last, shape_last
from stein_bench.data.pixelvalues import Range, check_range, stored_values, value_range
from stein_bench.data.resize import Resize
from stein_bench.data.rowfile import RowFile
from stein_bench.data.stores import ScalingRecord

_SURVEYED_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class RowStore:
    """A `Store` of the samples from `start` on in `file`, in its `layout` (see `layouts.LAYOUTS`).

    8-bit values are divided by 255 and need no check. With `channels` a single channel is repeated. The hash is that
    of the same samples in memory.
    """

    file: RowFile
    layout: str = "NHWC"
    resize: Resize | None = None
    scale: float = 255.0
    channels: int | None = None
    start: int = 0
    in_memory: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_resizable(len(self._shape_last) - 1, self.resize)

    @property
    def shape(self) -> tuple[int, ...]:
        *sides, channels = self._shape_last[1:]
        return (channels, *(self.resize.sides if self.resize else sides))

    def load(self, indices: Sequence[int]) -> Tensor:
        return self._store(self._rows(indices)).load(range(len(indices)))

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        digest.update(self._store(self._stored([0])).hash_head.encode())
        for part in parts(self._shape_last, self.file.dtype.itemsize, count):
            rows = self._rows(range(part.start, part.stop))
            digest.update(np.ascontiguousarray(stored_values(rows, self.scale)).data)

    def _rows(self, indices: Sequence[int]) -> np.ndarray:
        """Return samples as they are stored, channels last."""
        return self._stored(indices)

    def _stored(self, indices: Sequence[int]) -> np.ndarray:
        rows = self.file.rows([self.start + index for index in indices])
        return channels_last(rows, self.layout, self.channels)

    def _store(self, rows: np.ndarray) -> ArrayStore:
        return array_store(stored_values(rows, self.scale), self.resize, self.scale)

    @property
    def _shape_last(self) -> tuple[int, ...]:
        return shape_last(self.file.shape, self.layout, self.channels)


@dataclass(frozen=True, eq=False)
class ScannedRowStore(RowStore):
    """The same for values all of which were checked before; they are floats, or not divided by 255."""

    def scaling_record(self, count: int) -> ScalingRecord:  # noqa: ARG002 - nothing is left to be read
        """Return how values became values in [0, 1]; none was clipped."""
        return scaling_by(self.scale)


@dataclass(frozen=True, eq=False)
class CheckedRowStore(RowStore):
    """The same for values that may be outside 0 … `scale`: each is checked when it is read."""

    def scaling_record(self, count: int) -> ScalingRecord:
        """Return how values became values in [0, 1], having read the first `count` samples once.

        Raises UsageError, with the sample, for a value that is not finite or outside.
        """
        while self._checked[0] < count:
            self._rows([self._checked[0]])
            self._checked[0] += 1
        return scaling_by(self.scale)

    def _rows(self, indices: Sequence[int]) -> np.ndarray:
        rows = super()._rows(indices)
        for index, row in zip(indices, rows, strict=True):
            check_range(value_range(row), self.scale, f"{self.file.path}: sample {self.start + index}")
        return rows

    @cached_property
    def _checked(self) -> list[int]:
        """One number: how many samples were checked."""
        return [0]


def sampled_range(file: RowFile) -> Range:
    """Return the range of rows that are spread evenly over an array, at most 64 MB of them."""
    most = max(1, _SURVEYED_BYTES // max(1, file.row_bytes))
    chosen = np.unique(np.linspace(0, len(file) - 1, min(most, len(file), 256)).astype(int))
    among = "" if len(chosen) == len(file) else f" (in {len(chosen)} of {len(file)} samples)"
    return replace(value_range(file.rows(chosen.tolist())), among=among)
