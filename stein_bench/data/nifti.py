"""The data source ``nifti:CSV[,shape=DxHxW][,scaling=…]``: brain volumes, read on demand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from stein_bench.data.order import in_data_order
from stein_bench.data.resize import Resize
from stein_bench.data.samples import OWN, Samples
from stein_bench.data.stores import ScalingRecord
from stein_bench.data.volumeformats import OBLIQUE, SUFFIXES, check_format
from stein_bench.data.volumes import ValueScaling, check_header, parse_scaling, read_volume
from stein_bench.data.volumetable import Row, read_table
from stein_bench.errors import UsageError, unknown_name

SHAPE = (128, 128, 64)
"""The shape used in the paper."""
OPTIONS = ("shape", "scaling")

_SHAPE = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", re.IGNORECASE)
_OPTION = re.compile(r"\s*[A-Za-z_]+\s*=")


@dataclass(frozen=True, eq=False)
class VolumeStore:
    """A `Store` of files `paths`, each read, oriented, scaled and fitted to `sides` on demand.

    `angles` are those of `check_header`, in degrees.
    """

    paths: tuple[Path, ...]
    sides: tuple[int, ...]
    scaling: ValueScaling
    angles: tuple[float, ...] = ()
    in_memory: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *self.sides)

    def load(self, indices: Sequence[int]) -> Tensor:
        volumes = [read_volume(self.paths[index], self.sides, self.scaling).values for index in indices]
        return torch.from_numpy(np.stack(volumes)[:, None]) if volumes else torch.zeros((0, *self.shape))

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        """Hash the values that the model receives: a file's compression and orientation do not matter."""
        digest.update(f"volumes {self.shape} {self.scaling}\n".encode())
        for sha256, _ in self._read(count):
            digest.update(sha256)

    def scaling_record(self, count: int) -> ScalingRecord:
        """Return how the first `count` volumes were scaled, and how many of their values were clipped."""
        clipped = [clipped for _, clipped in self._read(count)]
        method, low, high = self.scaling.method, self.scaling.low, self.scaling.high
        return ScalingRecord(method, low, high, sum(clipped), sum(found > 0 for found in clipped))

    def notes(self, count: int) -> tuple[str, ...]:
        """Say which of the first `count` volumes are oblique."""
        oblique = [angle for angle in self.angles[:count] if angle >= OBLIQUE]
        if not oblique:
            return ()
        are = "volume is" if len(oblique) == 1 else "volumes are"
        return (
            f"{len(oblique)} {are} oblique, by up to {max(oblique):.0f}°: axes are reordered, nothing is resampled",
        )

    def _read(self, count: int) -> list[tuple[bytes, int]]:
        """Return (SHA-256 of the values, number of clipped values) for the first `count` volumes, each read once."""
        for path in self.paths[len(self._surveyed) : count]:
            volume = read_volume(path, self.sides, self.scaling)
            self._surveyed.append((hashlib.sha256(volume.values.astype("<f4").data).digest(), volume.clipped))
        return self._surveyed[:count]

    @cached_property
    def _surveyed(self) -> list[tuple[bytes, int]]:
        return []


@dataclass(frozen=True, eq=False)
class Nifti:
    """Single-channel volumes in [0, 1], listed in a table; `rows` is split → its rows in data order."""

    table: Path
    rows: Mapping[str, tuple[Row, ...]]
    sides: tuple[int, ...]
    scaling: ValueScaling
    classes: tuple[str, ...]
    label_space: str | None = OWN
    native_size: int | None = None
    uniform: bool = True
    channels: int = 1

    @property
    def task(self) -> str:
        """``binary`` for two classes (with sensitivity, specificity and AUC), otherwise ``classification``."""
        return "binary" if len(self.classes) == 2 else "classification"

    @property
    def name(self) -> str:
        return f"nifti:{self.table.name}"

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.rows)

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split`, with checked headers, in an order permuted with a fixed seed (see `in_data_order`)."""
        if split not in self.rows:
            raise UsageError(f"{self.table}: no row has the split {split!r}")
        if resize is not None:
            raise UsageError("volumes are not resized but cropped and padded: omit --image-size and set shape=DxHxW")
        rows = self.rows[split]
        angles = tuple(check_header(row.path) for row in rows)
        sites = tuple(row.site for row in rows if row.site is not None)
        return Samples(
            self.name,
            split,
            self.classes,
            np.array([row.label for row in rows], dtype=np.int64),
            tuple(row.name for row in rows),
            VolumeStore(tuple(row.path for row in rows), self.sides, self.scaling, angles),
            self.label_space,
            self.task,
            sites=sites or None,
        )


def open_nifti(text: str) -> Nifti:
    """Return the source of ``CSV[,shape=DxHxW][,scaling=none|minmax|LOW:HIGH]``; UsageError for anything wrong."""
    path, given = _options(text)
    shape = _SHAPE.fullmatch(given.get("shape", "x".join(map(str, SHAPE))))
    if not shape:
        raise UsageError(f"nifti:{text}: shape={given['shape']}; write three whole numbers, e.g. shape=128x128x64")
    scaling = parse_scaling(given.get("scaling", "none"), f"nifti:{text}")
    table = Path(path).expanduser()
    if table.name.lower().endswith(SUFFIXES):
        raise UsageError(f"{table}: is a volume; list the volumes in a table: nifti:CSV, with path, label and split")
    if not table.is_file() or not table.name.lower().endswith(".csv"):
        check_format(table)
    rows = read_table(table)
    by_split = {split: tuple(in_data_order([row for row in rows if row.split == split])) for split in ("train", "test")}
    classes = tuple(str(label) for label in range(max(row.label for row in rows) + 1))
    return Nifti(
        table, {split: found for split, found in by_split.items() if found}, tuple(map(int, shape.groups())), scaling,
        classes,
    )  # fmt: skip


def _options(text: str) -> tuple[str, dict[str, str]]:
    """Split the trailing options ``,name=value`` from the path, which may contain commas."""
    parts = text.split(",")
    given: dict[str, str] = {}
    while len(parts) > 1 and (_OPTION.match(parts[-1]) or parts[-2].lower().endswith(".csv")):
        name, equals, value = (piece.strip() for piece in parts.pop().partition("="))
        if not equals or not value:
            raise UsageError(f"nifti:{text}: {name + equals!r} is not of the form option=value, e.g. shape=128x128x64")
        if name not in OPTIONS:
            raise unknown_name("option of nifti", name, OPTIONS)
        if name in given:
            raise UsageError(f"nifti:{text} gives {name!r} twice")
        given[name] = value
    return ",".join(parts), given
