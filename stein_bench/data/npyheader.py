"""The beginning of a file: what kind it is and, for NumPy's format, shape and type without the values."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from stein_bench.errors import UsageError


def starts_with(path: Path, magic: bytes) -> bool:
    """Return whether the file begins with these bytes; UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Return shape, type and whether the order is Fortran's; ValueError if `file` is not in NumPy's format."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    return tuple(shape), dtype, bool(fortran)
