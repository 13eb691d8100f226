"""Samples in a .npy file that is mapped into memory: only what is asked for is read, by every process for itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from stein_bench.data.arrays import ArrayStore, check_resizable, parts
from stein_bench.data.floats import array_store, scaling_by
from stein_bench.data.layouts import channels_last
from stein_bench.data.pixelvalues import Range, check_range, stored_values, value_range
from stein_bench.data.resize import Resize
from stein_bench.data.stores import ScalingRecord
from stein_bench.errors import UsageError

_SURVEYED_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class MappedStore:
    """A `Store` of the samples from `start` on in the .npy file `path`, in its `layout` (see `layouts.LAYOUTS`).

    8-bit values are divided by 255 and need no check. With `channels` a single channel is repeated. The hash is that
    of the same samples in memory.
    """

    path: Path
    layout: str = "NHWC"
    resize: Resize | None = None
    scale: float = 255.0
    channels: int | None = None
    start: int = 0
    in_memory: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_resizable(self._last.ndim - 1, self.resize)

    @property
    def shape(self) -> tuple[int, ...]:
        *sides, channels = self._last.shape[1:]
        return (channels, *(self.resize.sides if self.resize else sides))

    def load(self, indices: Sequence[int]) -> Tensor:
        return self._store(self._rows(indices)).load(range(len(indices)))

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        head = self._store(self._last[:1]).hash_head
        digest.update(head.encode())
        for part in parts(self._last.shape, self._last.itemsize, count):
            rows = self._rows(range(part.start, part.stop))
            digest.update(np.ascontiguousarray(stored_values(rows, self.scale)).data)

    def _rows(self, indices: Sequence[int]) -> np.ndarray:
        """Return samples as they are stored, channels last."""
        rows: np.ndarray = self._last[[self.start + index for index in indices]]
        return rows

    def _store(self, rows: np.ndarray) -> ArrayStore:
        return array_store(stored_values(rows, self.scale), self.resize, self.scale)

    @property
    def _last(self) -> np.ndarray:
        return channels_last(self._mapped, self.layout, self.channels)

    @cached_property
    def _mapped(self) -> np.ndarray:
        return mapped_array(self.path)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the map, which would be pickled as the whole array."""
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}


@dataclass(frozen=True, eq=False)
class CheckedMappedStore(MappedStore):
    """The same for values that may be outside 0 … `scale`: each is checked when it is read."""

    def scaling_record(self, count: int) -> ScalingRecord:
        """Return how values became values in [0, 1], having read the first `count` samples once.

        Raises UsageError, with the sample, for a value that is not finite or outside.
        """
        while len(self._checked) < count:
            at = len(self._checked)
            self._rows([at])
            self._checked.append(at)
        return scaling_by(self.scale)

    def _rows(self, indices: Sequence[int]) -> np.ndarray:
        rows = super()._rows(indices)
        for index, row in zip(indices, rows, strict=True):
            check_range(value_range(row), self.scale, f"{self.path}: sample {self.start + index}")
        return rows

    @cached_property
    def _checked(self) -> list[int]:
        return []


def mapped_array(path: Path) -> np.ndarray:
    """Return the array of a .npy file, mapped into memory; UsageError, naming the file, if it is damaged."""
    with readable_array(path):
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def sampled_range(array: np.ndarray) -> Range:
    """Return the range of samples that are spread evenly over `array`, at most 64 MB of them."""
    most = max(1, _SURVEYED_BYTES // max(1, array[:1].nbytes))
    chosen = np.unique(np.linspace(0, len(array) - 1, min(most, len(array), 256)).astype(int))
    among = "" if len(chosen) == len(array) else f" (in {len(chosen)} of {len(array)} samples)"
    return replace(value_range(array[chosen]), among=among)


@contextmanager
def readable_array(path: Path) -> Iterator[None]:
    """Convert errors of NumPy and the file system in the body to a `UsageError` that names the file."""
    try:
        yield
    except PermissionError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: damaged or not readable ({reason}); write it again") from error
