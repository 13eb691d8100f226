"""Files of volumes: NIfTI and FreeSurfer's MGH are opened with nibabel; others are refused with a hint."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.arrayfiles import check_expansion, claimed_bytes
from stein_bench.errors import UsageError

SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")

OBLIQUE = 5.0
"""Degrees from which on a volume is said to be oblique."""

_DICOM = "DICOM, convert the folder of the series, e.g. with `dcm2niix -z y FOLDER`, and list the .nii.gz file"
_PAIR = "one half of an Analyze or NIfTI pair, convert it to one file, e.g. with FSL's `fslchfiletype NIFTI_GZ FILE`"
_NRRD = "NRRD, convert it to .nii.gz, e.g. with 3D Slicer or SimpleITK"
OTHERS = {
    ".dcm": _DICOM,
    ".dicom": _DICOM,
    ".ima": _DICOM,
    ".hdr": _PAIR,
    ".img": _PAIR,
    ".hdr.gz": _PAIR,
    ".img.gz": _PAIR,
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
    ".mnc": "MINC, convert it, e.g. with `mnc2nii FILE.mnc FILE.nii`",
    ".mnc.gz": "MINC, convert it, e.g. with `mnc2nii FILE.mnc FILE.nii`",
}
"""Suffixes of other formats → what they are and what to do."""

MOST_BEFORE_VALUES = 64 * 2**20
"""Bytes of header and extensions."""

_TIE = 1e-3
"""Difference of two direction cosines up to which it is open which world axis a voxel axis belongs to."""


def check_format(path: Path) -> None:
    """Raise a `UsageError`, with a way to convert it, if a file or folder is of another format."""
    name = path.name.lower()
    other = next((what for suffix, what in OTHERS.items() if name.endswith(suffix)), None)
    if other is None and (_is_dicom(path) or (path.is_dir() and any(map(_is_dicom, _first_files(path))))):
        other = _DICOM
    if other is not None:
        raise UsageError(f"{path}: is {other}")
    if path.is_file() and not name.endswith(SUFFIXES):
        *most, last = SUFFIXES
        raise UsageError(f"{path}: is not named as a NIfTI file; {', '.join(most)} or {last} is needed")


def open_volume(path: Path) -> Any:
    """Return the nibabel image of a file, whose values are not read yet; UsageError if it is of another format."""
    import nibabel

    check_format(path)
    _check_offset(path)
    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image | nibabel.MGHImage):  # NIfTI-2 is a subclass
        raise UsageError(f"{path}: is not a NIfTI file but {type(image).__name__}")
    _check_size(path, image)
    return image


def _compressed(path: Path) -> bool:
    return path.name.lower().endswith((".gz", ".mgz"))


def _check_offset(path: Path) -> None:
    """Refuse a NIfTI header before whose values lies more than any real extension: nibabel would read all of it.

    Raises:
        ValueError, OSError: it does, or the file cannot be read.
    """
    if path.name.lower().endswith((".mgz", ".mgh")):
        return
    with gzip.open(path) if _compressed(path) else path.open("rb") as stream:
        head = stream.read(540)
    for order in "<>":
        if head[:4] == struct.pack(f"{order}i", 348) and len(head) >= 112:
            (offset,) = struct.unpack(f"{order}f", head[108:112])
        elif head[:4] == struct.pack(f"{order}i", 540) and len(head) >= 176:
            (offset,) = struct.unpack(f"{order}q", head[168:176])
        else:
            continue
        if not 0 <= offset <= MOST_BEFORE_VALUES:
            raise ValueError(f"its values are said to begin at byte {offset:g}")


def _check_size(path: Path, image: Any) -> None:
    """Hold the size that a header claims against that of the file, before any values are read.

    Raises:
        ValueError: the file is too small for them, or would become far larger than it is.
    """
    dtype = np.dtype(image.get_data_dtype())
    if any(side < 0 for side in image.shape):
        raise ValueError(f"a negative length in its shape {image.shape}")
    needed, size = claimed_bytes(tuple(map(int, image.shape)), dtype), path.stat().st_size
    if not _compressed(path):
        if needed > size:
            raise ValueError(f"cut off: it has {size:,} bytes, and its header claims {needed:,}")
    else:
        check_expansion(needed, size, "it")


def is_oriented(image: Any) -> bool:
    """Return whether the file of an image says which way its axes point."""
    import nibabel

    if isinstance(image, nibabel.MGHImage):
        # goodRASFlag of the header's layout; nibabel sets it after putting in FreeSurfer's default.
        with image.file_map["image"].get_prepare_fileobj("rb") as stream:
            return bytes(stream.read(30)[28:30]) != b"\0\0"
    return int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0


def is_singular(affine: np.ndarray) -> bool:
    """Return whether voxel axes have no direction or lie in one plane, whatever the voxel size."""
    directions = _directions(affine)
    return directions is None or abs(float(np.linalg.det(directions))) < 1e-6


def obliquity(affine: np.ndarray) -> float | None:
    """Return the largest angle, in degrees, between a voxel axis and the world axis that it is taken for.

    `affine` is not singular. None if an axis cannot be assigned uniquely, since two world axes are equally near.
    """
    from nibabel.orientations import io_orientation

    directions = _directions(affine)
    assigned = io_orientation(affine)[:, 0]
    if directions is None or np.isnan(assigned).any():
        return None
    left, _, right = np.linalg.svd(directions)
    for axis, world in enumerate(assigned.astype(int)):
        cosines = np.abs((left @ right)[:, axis])  # without shear, as io_orientation compares them
        if cosines[world] - np.delete(cosines, world).max() < _TIE:
            return None
    chosen = np.abs(directions[assigned.astype(int), np.arange(3)])
    return float(np.degrees(np.arccos(chosen.clip(0, 1)).max()))


def _directions(affine: np.ndarray) -> np.ndarray | None:
    """Return the voxel axes as unit columns (3, 3); None if one has no direction."""
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not np.isfinite(lengths).all() or not lengths.all():
        return None
    unit: np.ndarray = columns / lengths
    return unit


def _is_dicom(path: Path) -> bool:
    """Return whether the file begins with DICOM's preamble of 128 bytes and the letters DICM."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _first_files(folder: Path, most: int = 20) -> list[Path]:
    found: Callable[[Path], bool] = Path.is_file
    return [path for path, _ in zip(filter(found, folder.iterdir()), range(most), strict=False)]
