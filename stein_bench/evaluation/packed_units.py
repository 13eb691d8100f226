"""Units as bytes, for the journal: every value comes back bit for bit."""

from __future__ import annotations

import json
import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stein_bench.evaluation.units import Unit

_LENGTH = struct.Struct("<I")
_BITS = "bits"
"""The type of Boolean columns, of which eight make a byte."""
_RANGE = "range"
"""The type of positions that follow one another: only the first one is written."""

_MOST = 2**24
"""No batch has more samples."""
_KINDS: dict[str, type | tuple[type, ...]] = {
    "variant": str,
    "phase": str,
    "batch": int,
    "seconds": (float, int),
    "forward_passes": int,
    "backward_passes": int,
    "message": str,
}


def pack_unit(unit: Unit) -> bytes:
    """Return a unit as compressed bytes: a description in JSON, and the arrays one after another."""
    arrays = {"": unit.indices, **{f"={name}": column for name, column in unit.columns.items()}}
    described, parts = {}, []
    for name, array in arrays.items():
        what, content = _packed(array, positions=name == "")
        described[name] = [what, *array.shape]
        parts.append(content)
    rest = {key: value for key, value in vars(unit).items() if key not in ("columns", "indices")}
    head = json.dumps([rest, described]).encode()
    return zlib.compress(b"".join([_LENGTH.pack(len(head)), head, *parts]), 6)


def unpack_unit(content: bytes) -> Unit:
    """Undo `pack_unit`. Raises ValueError, LookupError, TypeError or RecursionError if the bytes are no unit."""
    try:
        text = zlib.decompress(content)
        (length,) = _LENGTH.unpack_from(text)
    except (zlib.error, struct.error) as error:
        raise ValueError(str(error)) from None
    position = _LENGTH.size + length
    rest, described = json.loads(text[_LENGTH.size : position])
    arrays: dict[str, NDArray[Any]] = {}
    for name, (what, *shape) in described.items():
        arrays[name], position = _unpacked(text, position, what, shape)
    indices = arrays.pop("")
    unit = Unit(indices=indices, columns={name[1:]: column for name, column in arrays.items()}, **rest)
    if not all(isinstance(getattr(unit, name), kind) for name, kind in _KINDS.items()):
        raise ValueError("a value of another type")
    return unit


def _packed(array: NDArray[Any], *, positions: bool) -> tuple[str, bytes]:
    if array.dtype == np.bool_:
        return _BITS, np.packbits(array).tobytes()
    if positions and len(array) and bool((np.diff(array) == 1).all()):
        return _RANGE, array[:1].astype("<i8").tobytes()
    if array.dtype.kind == "f":  # bytes of equal significance side by side, of which compression makes more
        return array.dtype.str, np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize).T.tobytes()
    return array.dtype.str, array.tobytes()


def _unpacked(text: bytes, start: int, what: str, shape: list[int]) -> tuple[NDArray[Any], int]:
    """Return the array that begins at `start`, and where it ends."""
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"no shape: {shape}")
    count = math.prod(shape)
    if what == _BITS:
        end = start + -(-count // 8)
        if end > len(text):
            raise ValueError("an array is cut off")
        bits = np.unpackbits(np.frombuffer(text[start:end], np.uint8), count=count)
        return bits.astype(np.bool_).reshape(shape), end
    if what == _RANGE:
        if count > _MOST:
            raise ValueError(f"no batch has {count} samples")
        first = int(np.frombuffer(text[start : start + 8], "<i8")[0])
        return np.arange(first, first + count, dtype=np.int64), start + 8
    dtype = np.dtype(what)
    end = start + count * dtype.itemsize
    content = np.frombuffer(text[start:end], np.uint8)
    if dtype.kind == "f":
        content = content.reshape(dtype.itemsize, count).T
    return np.frombuffer(content.tobytes(), dtype).copy().reshape(shape), end
