"""Reading a NIfTI or MGH file as a volume: canonical axes, central cropping or padding, values in [0, 1]."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stein_bench.data.volumeformats import is_oriented, is_singular, obliquity, open_volume
from stein_bench.errors import UsageError

ROUNDING = 1e-6
"""Rounding error by which values may exceed [0, 1] and still count as inside."""

_CORRUPT = (OSError, ValueError, EOFError, zlib.error, OverflowError, KeyError)


@dataclass(frozen=True)
class ValueScaling:
    """How stored values become values in [0, 1].

    ``none``: they are in [0, 1] already; any other value is refused. ``range``: (value - low) / (high - low), clipped
    to [0, 1], with the clipped values counted. ``minmax``: each volume's minimum and maximum (before cropping) become
    0 and 1; a constant volume becomes 0.
    """

    method: Literal["none", "range", "minmax"] = "none"
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}" if self.method == "range" else self.method


@dataclass(frozen=True, eq=False)
class Volume:
    """Values in [0, 1], float32 (D, H, W), and how many of the file's values were `clipped`."""

    values: NDArray[np.float32]
    clipped: int


def check_header(path: Path) -> float:
    """Check by its header that `path` is one 3-D volume of real numbers with an orientation.

    Returns the largest angle, in degrees, between one of its axes and the axis of RAS+ that it is taken for. Raises
    UsageError, naming the file, if it is no such volume.
    """
    with _readable(path):
        image = open_volume(path)
        shape, dtype, affine, oriented = image.shape, image.get_data_dtype(), image.affine, is_oriented(image)
    _check_shape(path, shape)
    if dtype.fields is not None or dtype.kind not in "iuf":
        raise UsageError(f"{path}: holds values of type {dtype}; real numbers are needed")
    if not oriented or not np.isfinite(affine).all() or is_singular(affine):
        flags = "goodRASFlag is" if _kind(path) == "MGH" else "sform and qform are"
        raise UsageError(
            f"{path}: has no orientation ({flags} unset or singular); set one, since left and right would be a guess"
        )
    angle = obliquity(affine)
    if angle is None:
        raise UsageError(
            f"{path}: its axes lie midway between right, anterior and superior and cannot be assigned; resample it to "
            "a grid along them, e.g. with `mri_convert --conform`"
        )
    return angle


def _check_shape(path: Path, shape: Sequence[int]) -> None:
    sides = "×".join(map(str, shape))
    if 0 in shape:
        raise UsageError(f"{path}: is empty ({sides})")
    if _spatial(shape) is not None:
        return
    if len(shape) == 4:
        raise UsageError(
            f"{path}: is {sides}, a series of {shape[3]} volumes; one 3-D volume is needed: split it with FSL's "
            "`fslsplit` or `nibabel.four_to_three`, and name one file in each row"
        )
    raise UsageError(f"{path}: is {sides}; one 3-D volume is needed")


def read_volume(path: Path, shape: Sequence[int], scaling: ValueScaling) -> Volume:
    """Read `path`, reorient it to RAS+ (right, anterior, superior), scale, and crop or pad it to `shape`.

    Axes are permuted and flipped by the affine, never interpolated. Cropping and padding (with 0, after
    scaling) are central; an odd extra voxel is cropped or padded at the end. Raises UsageError if the file is
    unreadable, contains non-finite values, or exceeds [0, 1] with `scaling` ``none``.
    """
    import nibabel.orientations as axes

    with _readable(path):
        image = open_volume(path)
        stored: NDArray[np.float64] = image.get_fdata(dtype=np.float64, caching="unchanged")
        stored = stored.reshape(stored.shape[:3])
        canonical = axes.apply_orientation(stored, axes.io_orientation(image.affine))
    if not np.isfinite(canonical).all():
        count = int((~np.isfinite(canonical)).sum())
        raise UsageError(f"{path}: {count} values are not finite; replace them, e.g. by 0")
    scaled, clipped = _scaled(path, canonical, scaling)
    return Volume(np.ascontiguousarray(fit_shape(scaled, shape), dtype=np.float32), clipped)


def fit_shape(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Return `values` cropped and padded with 0, centrally, to `shape`; an odd extra voxel is at the end."""
    window = tuple(
        slice(max(0, (have - want) // 2), max(0, (have - want) // 2) + min(have, want))
        for have, want in zip(values.shape, shape, strict=True)
    )
    before = [max(0, (want - have) // 2) for have, want in zip(values.shape, shape, strict=True)]
    fitted = np.zeros(tuple(shape), values.dtype)
    cropped = values[window]
    fitted[tuple(slice(start, start + side) for start, side in zip(before, cropped.shape, strict=True))] = cropped
    return fitted


def parse_scaling(text: str, where: str) -> ValueScaling:
    """Parse ``none``, ``minmax`` or ``LOW:HIGH``; UsageError, naming `where`, for anything else."""
    if text in ("none", "minmax"):
        return ValueScaling("minmax" if text == "minmax" else "none")
    low, _, high = text.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UsageError(f"{where}: scaling={text}; write none, minmax or LOW:HIGH, e.g. 0:1") from None
    if not all(map(math.isfinite, ends)) or ends[0] >= ends[1]:
        raise UsageError(f"{where}: scaling={text}; LOW must be below HIGH, both finite, e.g. 0:1")
    return ValueScaling("range", *ends)


def _scaled(path: Path, values: NDArray[np.float64], scaling: ValueScaling) -> tuple[NDArray[np.float64], int]:
    """Return values in [0, 1] and how many of them were clipped."""
    smallest, largest = float(values.min()), float(values.max())
    low, high = 0.0, 1.0
    if scaling.method == "minmax":
        low, high = smallest, largest
    elif scaling.low is not None and scaling.high is not None:
        low, high = scaling.low, scaling.high
    if low == high:
        return np.zeros_like(values), 0
    scaled = (values - low) / (high - low)
    outside = int(((scaled < -ROUNDING) | (scaled > 1 + ROUNDING)).sum())
    if outside and scaling.method == "none":
        raise UsageError(
            f"{path}: has values from {smallest:.4g} to {largest:.4g}, outside [0, 1]; add scaling=LOW:HIGH (clips "
            "and counts values outside) or scaling=minmax (per volume) to the data spec"
        )
    return scaled.clip(0, 1), outside


def _spatial(shape: Sequence[int]) -> tuple[int, ...] | None:
    """Return the three sides of a volume, ignoring further axes of length 1; None if it is not a volume."""
    return tuple(shape[:3]) if len(shape) >= 3 and all(side == 1 for side in shape[3:]) else None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        yield
    except (*_CORRUPT, ImageFileError, HeaderDataError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"{path}: not a readable {_kind(path)} file ({reason}); repair or remove it") from error


def _kind(path: Path) -> str:
    return "MGH" if path.name.lower().endswith((".mgz", ".mgh")) else "NIfTI"
