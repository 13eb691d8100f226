"""Which stored value is white: told by the type, recognized by the range, or asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from stein_bench.data.places import Place
from stein_bench.errors import UsageError

ROUNDING = 1e-6
"""Rounding error, relative to white, by which values may be outside and still count as inside."""

_FULL = 200  # from here on, floats up to 255 are taken as 8-bit values; 0 … 16 or 0 … 100 are other scales
_OVERSHOOT = 2  # up to here, floats may be in [0, 1] but for an interpolation
_DARK = 0.5  # a largest value below this share of white is worth a note


@dataclass(frozen=True)
class Range:
    """The extremes of the finite values of an array, and how many values are not finite."""

    low: float
    high: float
    not_finite: int = 0
    among: str = ""  # the part of the array that was looked at, for messages; empty for all of it

    def __str__(self) -> str:
        return f"{self.low:.6g} to {self.high:.6g}{self.among}"


def value_range(array: np.ndarray) -> Range:
    """Return the range of a nonempty array of booleans or real numbers."""
    with np.errstate(invalid="ignore"):
        low, high = float(array.min()), float(array.max())  # either is not finite if any value is not
    if math.isfinite(low) and math.isfinite(high):
        return Range(low, high)
    finite = array[np.isfinite(array)]
    ends = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Range(*ends, not_finite=array.size - finite.size)


def check_type(dtype: np.dtype[Any], where: str) -> None:
    """Raise a UsageError, naming `where`, unless `dtype` is boolean or a real number."""
    if dtype.hasobject:
        raise UsageError(
            f"{where} is object: Python objects, which are not unpickled; store whole numbers from 0 to 255 as uint8"
        )
    if dtype.kind not in "biuf":
        raise UsageError(f"{where} is {dtype}; store whole numbers from 0 to 255 as uint8, or floats in [0, 1]")


def parse_scale(text: str, where: str) -> float:
    """Return the value of ``scale=``, a positive number; UsageError, naming `where`, for anything else."""
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"{where}: scale={text}; write the stored value that is white, e.g. scale=1 or scale=255")
    return scale


def decide_scale(dtype: np.dtype[Any], found: Range, asked: float | None, where: str) -> float:
    """Return the stored value that becomes 1: as `asked`, or as recognized.

    Recognized is 255 for whole numbers from 0 to 255 and for floats that come near 255, and 1 for booleans and for
    floats up to 1. Raises UsageError, naming `where`, if that would be a guess, if values are outside 0 … `asked` or if
    no scale makes them images.
    """
    check_finite(found, where)
    if dtype.kind == "b":
        if asked not in (None, 1):
            raise UsageError(f"{where} is bool, where True is white; leave out scale=")
        return 1.0
    if asked is not None:
        check_range(found, asked, where)
        return asked
    if found.low < -ROUNDING:
        raise UsageError(f"{where} has values from {found}{_negative(dtype, found)}")
    if dtype.kind in "iu":
        return _whole_scale(found, where)
    if found.high <= 1 + ROUNDING:
        return 1.0
    if _FULL <= found.high <= 255 * (1 + ROUNDING):
        return 255.0
    what = "clip them to [0, 1], or name" if found.high <= _OVERSHOOT else "name"
    example = "VALUE" if found.high <= _OVERSHOOT else _likely(found.high)
    raise UsageError(
        f"{where} has values from {found}, neither [0, 1] nor [0, 255]; {what} the value that is white: add "
        f",scale={example}"
    )


def _whole_scale(found: Range, where: str) -> float:
    if found.high > 255:
        raise UsageError(
            f"{where} has values from {found}; store them as uint8, 0 to 255, or name the value that is white, e.g. "
            f"add ,scale={_likely(found.high)}"
        )
    if found.high == 1:
        raise UsageError(f"{where} has only the values 0 and 1{found.among}; add ,scale=1 if 1 is white, or ,scale=255")
    return 255.0


def _negative(dtype: np.dtype[Any], found: Range) -> str:
    if dtype.kind in "iu":
        return "; store them as uint8, 0 to 255"
    if found.low >= -1 - ROUNDING and found.high <= 1 + ROUNDING:
        return "; values in [0, 1] are needed: if they are scaled to [-1, 1], store (x + 1) / 2"
    return (
        "; values in [0, 1] are needed: undo the standardization (x * std + mean); --mean and --std do it in the model"
    )


def _likely(high: float) -> str:
    """Return the usual scale just above `high`."""
    return str(next((scale for scale in (1, 16, 100, 255, 1023, 4095, 65535) if high <= scale), f"{high:g}"))


def check_finite(found: Range, where: str) -> None:
    """Raise a UsageError, naming `where`, if some values are not finite."""
    if found.not_finite:
        plural = "value that is" if found.not_finite == 1 else "values that are"
        raise UsageError(
            f"{where} has {found.not_finite} {plural} NaN or infinite{found.among}; replace them, e.g. by 0"
        )


def check_range(found: Range, scale: float, where: str) -> None:
    """Raise a UsageError, naming `where`, unless all values are from 0 to `scale`."""
    check_finite(found, where)
    if found.low < -ROUNDING * scale or found.high > scale * (1 + ROUNDING):
        raise UsageError(
            f"{where} has values from {found}, but {scale:g} is taken as white; clip them to 0 … {scale:g}, or add "
            f",scale={_likely(max(found.high, scale))}"
        )


def scale_notes(dtype: np.dtype[Any], found: Range, scale: float, asked: float | None, place: Place) -> list[str]:
    """Return the notes on how values became values in [0, 1]: none for 8-bit images in their usual range."""
    where, said = place.short, " as scale= says" if asked is not None else ""
    notes = []
    if dtype.kind == "b":
        notes.append(f"{where} is bool: False became 0 and True 1")
    elif dtype.kind == "f" or scale != 255:
        how = "taken as they are" if scale == 1 else f"divided by {scale:g}"
        notes.append(f"{where} has {dtype.name} values from {found}, {how}{said}")
    if dtype.kind == "f" and dtype.itemsize > 4:
        notes.append(f"{where} was rounded from {dtype.name} to float32")
    if asked is None and 0 < found.high < _DARK * scale:
        notes.append(f"{where} has values from {found} only, and {scale:g} is taken as white: if not, add scale=VALUE")
    return notes


def stored_values(rows: np.ndarray, scale: float) -> np.ndarray:
    """Return checked `rows` as uint8 if they are whole numbers and 255 is white, otherwise as float32."""
    whole = rows.dtype.kind in "iu" and scale == 255
    return rows.astype(np.uint8 if whole else np.float32, copy=False)
