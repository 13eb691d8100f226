"""A large array in an .npz file, read once to its end: its range of values, and where its rows can be read again."""

from __future__ import annotations

import math
import os
import struct
import tempfile
import weakref
import zipfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from stein_bench.arrayfiles import read_header
from stein_bench.data.pixelvalues import Range, value_range
from stein_bench.data.rowfile import RowFile

SMALL = 2**24
"""Arrays of at most so many bytes are simply kept in memory."""

_PART_BYTES = 2**22


def scanned_rows(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[RowFile, Range] | None:
    """Return the array in the member `name` of an open .npz file, and the range of its values.

    If it is compressed, it is written to a temporary file, which is removed with the returned object or at the end of
    the process. None if its order is Fortran's or the temporary file cannot be written: it has to be read as a whole.
    Raises what `zipfile` and NumPy raise for damaged files.
    """
    info = archive.getinfo(name)
    with ExitStack() as stack:
        member = stack.enter_context(archive.open(info))
        shape, dtype, fortran = read_header(member)
        if fortran:
            return None
        header = member.tell()
        if info.compress_type == zipfile.ZIP_STORED:
            array, copy = RowFile(path, shape, dtype, _data_offset(path, info) + header), None
        else:
            try:
                handle, temporary = tempfile.mkstemp(prefix="stein-bench-", suffix=".rows")
            except OSError:
                return None
            array, copy = RowFile(Path(temporary), shape, dtype, 0), stack.enter_context(os.fdopen(handle, "wb"))
            weakref.finalize(array, Path(temporary).unlink, missing_ok=True)
        found = _scanned(member, array, copy)
    return None if found is None else (array, found)


def _scanned(member: IO[bytes], array: RowFile, copy: IO[bytes] | None) -> Range | None:
    """Return the range of the values of a `member`, behind its header, copied if asked for; None if that fails."""
    left, step = math.prod(array.shape) * array.dtype.itemsize, _PART_BYTES // array.dtype.itemsize
    found: Range | None = None
    while left:
        content = member.read(min(left, step * array.dtype.itemsize))
        left -= len(content)
        if not content or len(content) % array.dtype.itemsize:
            raise ValueError(f"the array is cut off, {left} bytes are missing")
        found = _joined(found, value_range(np.frombuffer(content, array.dtype)))
        try:
            if copy is not None:
                copy.write(content)
                copy.flush()  # else the last of it is written where the error is not expected
        except OSError:  # a full disk
            return None
    return found


def _joined(one: Range | None, other: Range) -> Range:
    if one is None:
        return other
    return replace(
        one, low=min(one.low, other.low), high=max(one.high, other.high), not_finite=one.not_finite + other.not_finite
    )


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where the content of an uncompressed member begins: behind its local header (APPNOTE.TXT, 4.3.7)."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<26x2H", file.read(30))
    return info.header_offset + 30 + int(name) + int(extra)
