"""An array in a file, of which rows are read: no more than what is asked for ever is in memory.

The rows are read, not mapped: pages of a map count as the process's own memory until the system takes them back, and a
file that becomes shorter would end the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.arrayfiles import check_npy, read_header
from stein_bench.errors import UsageError


@dataclass(frozen=True, eq=False)
class RowFile:
    """An array of `shape` and `dtype` that begins at byte `offset` of the file `path`; can be pickled.

    One in Fortran order (`fortran`), where a row is spread over the whole file, is mapped for every reading.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    fortran: bool = False

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """The size of a row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def rows(self, indices: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return the rows at `indices`, which are not negative, as an array of their own; UsageError if unreadable."""
        if self.fortran:
            with readable_array(self.path):
                mapped = np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")
                return np.array(mapped[list(indices)])
        found = np.empty((len(indices), *self.shape[1:]), self.dtype)
        content = found.reshape(-1).view(np.uint8).data
        with readable_array(self.path), self.path.open("rb", buffering=0) as file:
            for start, stop in _runs(indices):
                file.seek(self.offset + indices[start] * self.row_bytes)
                part = content[start * self.row_bytes : stop * self.row_bytes]
                while len(part):
                    if not (count := file.readinto(part)):
                        raise ValueError("it became shorter while it was read")
                    part = part[count:]
        return found


def open_npy(path: Path) -> RowFile:
    """Return the array of a .npy file; UsageError, naming the file, if it is damaged."""
    with readable_array(path), path.open("rb") as file:
        check_npy(path)
        shape, dtype, fortran = read_header(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        return RowFile(path, shape, dtype, file.tell(), fortran)


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the places, from start to before stop, of consecutive numbers in `indices`."""
    start = 0
    for place in range(1, len(indices) + 1):
        if place == len(indices) or indices[place] != indices[place - 1] + 1:
            yield start, place
            start = place


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
