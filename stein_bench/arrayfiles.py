"""NumPy's files: shapes and sizes that their headers claim, held against what the file has before memory is taken."""

from __future__ import annotations

import math
import struct
import sys
import zipfile
from collections import Counter
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np

MIB = 2**20
LONGEST_HEADER = 2**16
"""Bytes of a header; NumPy writes a few hundred."""
UNCHECKED = 256 * MIB
"""So much may be decompressed whatever the ratio."""
MOST_RATIO = 200
"""How many times larger than the compressed data anything larger may become; images become 1 to 20 times larger."""


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Return shape, type and whether the order is Fortran's; the values follow in `file`.

    Raises:
        ValueError: `file` is not in NumPy's format, or the header is too long or describes no array of plain values.
    """
    start = file.tell()
    major, _ = np.lib.format.read_magic(file)
    width = 2 if major == 1 else 4
    field = file.read(width)
    if len(field) < width:
        raise ValueError("cut off in its header")
    (length,) = struct.unpack("<H" if major == 1 else "<I", field)
    if length > LONGEST_HEADER:
        raise ValueError(f"its header claims {length:,} bytes; NumPy writes a few hundred")
    file.seek(start + len(np.lib.format.MAGIC_PREFIX) + 2)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file, max_header_size=LONGEST_HEADER)
    except (
        SyntaxError,
        TokenError,
        TypeError,
        RecursionError,
        MemoryError,
    ) as error:  # of the literal
        raise ValueError(f"damaged header ({type(error).__name__})") from None
    if any(isinstance(side, bool) or side < 0 for side in shape):
        raise ValueError(f"a negative length in its shape {shape}, or one that is no number")
    if claimed_bytes(shape, dtype) > sys.maxsize:
        raise ValueError(f"no array has the shape {tuple(shape)}")
    if dtype.itemsize == 0:
        raise ValueError(f"values without a size (type {dtype})")
    return tuple(shape), dtype, bool(fortran)


def claimed_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the bytes of an array's values; whole numbers of Python do not overflow."""
    return math.prod(shape) * dtype.itemsize


def check_npy(path: Path) -> None:
    """Check that a .npy file has all the values that its header claims.

    Raises:
        ValueError: it has fewer, or it is no such file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        shape, dtype, _ = read_header(file)
        needed, there = file.tell() + claimed_bytes(shape, dtype), path.stat().st_size
    if not dtype.hasobject and there < needed:  # objects are refused by their type
        raise ValueError(f"cut off: it has {there} bytes of {needed}")


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Check what the directory of a zip archive of `size` bytes claims of its members.

    Raises:
        ValueError: two have one name, they overlap, or one would become far larger than it is.
    """
    members = archive.infolist()
    twice = [name for name, count in Counter(info.filename for info in members).items() if count > 1]
    if twice:
        raise ValueError(f"it holds {twice[0]} twice")
    if sum(info.compress_size for info in members) > size:
        raise ValueError("its members overlap")
    for info in [*members, _all(members)]:
        check_expansion(info.file_size, info.compress_size, info.filename)


def _all(members: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """Return the members as if they were one."""
    whole = zipfile.ZipInfo("what it holds")
    whole.file_size = sum(info.file_size for info in members)
    whole.compress_size = sum(info.compress_size for info in members)
    return whole


def check_expansion(claimed: int, compressed: int, what: str) -> None:
    """Raise ValueError if `what` claims to become far larger than its compressed data, as no real data do."""
    if claimed > UNCHECKED and claimed > MOST_RATIO * compressed:
        raise ValueError(
            f"{what} would become {claimed:,} bytes, more than {MOST_RATIO} times its {compressed:,} compressed ones: "
            "if that is meant, store it uncompressed"
        )


def check_npz(archive: zipfile.ZipFile, size: int) -> None:
    """Check an open .npz file of `size` bytes: each array is as large as its header and the archive both say.

    Raises:
        ValueError, or what `zipfile` raises for damaged files.
    """
    check_archive(archive, size)
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            continue
        with archive.open(info) as member:
            shape, dtype, _ = read_header(member)
            needed = member.tell() + claimed_bytes(shape, dtype)
        if not dtype.hasobject and needed != info.file_size:
            raise ValueError(f"{info.filename} claims {needed:,} bytes, but has {info.file_size:,}")
