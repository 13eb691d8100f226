"""The data sources ``cifar10-c:ROOT`` and ``cifar100-c:ROOT``: CIFAR's test sets, corrupted.

The folders CIFAR-10-C and CIFAR-100-C as they are published (D. Hendrycks and T. Dietterich, ICLR 2019; zenodo.org,
records 2535967 and 3555552) hold ``labels.npy`` and one ``NAME.npy`` for each of 19 corruptions, uint8 50,000×32×32×3.
By their README the first 10,000 images of each are the test set at severity 1, and the last 10,000 at severity 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from stein_bench.data.arrays import ArrayStore
from stein_bench.data.cifar import CLASSES, Cifar
from stein_bench.data.corruptions import SEVERITIES, Choice, choose
from stein_bench.data.crossed import Crossed
from stein_bench.data.layouts import sizes
from stein_bench.data.resize import Resize
from stein_bench.data.rowfile import RowFile, open_npy
from stein_bench.data.samples import OWN, Samples
from stein_bench.errors import UsageError

FOLDERS = {"cifar10-c": "CIFAR-10-C", "cifar100-c": "CIFAR-100-C"}
"""Name → the folder into which the published archive unpacks."""

CLEAN = {"cifar10-c": "cifar10", "cifar100-c": "cifar100"}
"""Name → the data set whose test images are corrupted."""

SIDE = 32
LABELS = "labels.npy"
HASHED_ROWS = 4096
"""Images that are read at once for the hash."""
FEW = 100
"""From so many images on, labels that are all below 10 are not those of CIFAR-100."""


@dataclass(frozen=True, eq=False)
class BlockFile:
    """An .npy file, opened when it is needed."""

    path: Path

    @cached_property
    def array(self) -> RowFile:
        """Its array; UsageError if the file is not a readable one."""
        if not self.path.exists():
            raise UsageError(f"{self.path}: no such file")
        return open_npy(self.path)


@dataclass(frozen=True, eq=False)
class BlockStore:
    """A `Store` of base images in several cells: cell c is the `rows` rows of ``files[c]`` from ``starts[c]`` on.

    Sample i is base image ``i // len(files)`` in cell ``i % len(files)``.
    """

    files: tuple[BlockFile, ...]
    starts: tuple[int, ...]
    rows: int
    resize: Resize | None = None
    in_memory: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, *(self.resize.sides if self.resize else (SIDE, SIDE)))

    def load(self, indices: Sequence[int]) -> Tensor:
        images, cells = np.divmod(np.asarray(indices, dtype=np.int64), len(self.files))
        chosen = np.empty((len(images), SIDE, SIDE, 3), np.uint8)
        for cell in np.unique(cells).tolist():
            places = np.flatnonzero(cells == cell)
            chosen[places] = self.files[cell].array.rows((self.starts[cell] + images[places]).tolist())
        return ArrayStore(chosen, self.resize).load(range(len(chosen))) if len(chosen) else self._nothing()

    def _nothing(self) -> Tensor:
        return ArrayStore(np.empty((1, SIDE, SIDE, 3), np.uint8), self.resize).load([])

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        """Feed the samples cell by cell, as they lie on the disk."""
        digest.update(f"uint8 cells {len(self.files)} {self.shape} {self.resize}\n".encode())
        for cell, (file, start) in enumerate(zip(self.files, self.starts, strict=True)):
            end = start + len(range(cell, count, len(self.files)))
            for first in range(start, end, HASHED_ROWS):
                digest.update(file.array.rows(range(first, min(first + HASHED_ROWS, end))).data)


@dataclass(frozen=True, eq=False)
class CifarC:
    """Corrupted 32×32 RGB images in [0, 1]: a test split only."""

    name: str
    folder: Path
    labels: np.ndarray
    choice: Choice
    files: Mapping[str, BlockFile]
    task: str = "classification"
    label_space: str | None = OWN
    splits: tuple[str, ...] = ("test",)
    native_size: int | None = SIDE
    uniform: bool = True
    channels: int = 3

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES[CLEAN[self.name]]

    @property
    def training_data(self) -> str:
        """The data to train on."""
        return CLEAN[self.name]

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the chosen cells, base image by base image in the order of the clean test set."""
        if split != "test":
            raise UsageError(f"{self.name} has no split {split!r}, only test; train on {self.training_data}")
        rows, cells = len(self.labels), self.choice.cells
        files = tuple(self.files[name] for name in self.choice.corruptions for _ in self.choice.severities)
        starts = [(severity - 1) * rows for severity in self.choice.severities] * len(self.choice.corruptions)
        names = tuple(f"{index:04d}" for index in range(rows))
        return Samples(
            self.name, split, self.classes, np.repeat(self.labels, len(cells)),
            Crossed(names, tuple(f"{self.name}/{cell}" for cell in cells)),
            BlockStore(files, tuple(starts), rows, resize), self.label_space,
            cells=cells, remarks=self.choice.remarks,
        )  # fmt: skip


def open_cifarc(name: str, root: Path, options: Mapping[str, str]) -> CifarC:
    """Return the source `name` with the folder `root`, or with the published folder within it.

    Raises UsageError if files are missing, or have other shapes than each other or than they should.
    """
    folder = _folder(name, root)
    labels = _labels(name, folder)
    paths = {path.stem: path for path in sorted(folder.glob("*.npy")) if path.name != LABELS}
    choice = choose(options, list(paths), str(folder))
    files = {corruption: BlockFile(paths[corruption]) for corruption in choice.corruptions}
    expected = (len(SEVERITIES) * len(labels), SIDE, SIDE, 3)
    for file in files.values():
        if file.array.shape != expected or file.array.dtype != np.uint8:
            raise UsageError(
                f"{file.path}: holds {sizes(file.array.shape)} of {file.array.dtype}, not {sizes(expected)} of uint8 "
                f"(an RGB image for each of the labels in {LABELS})"
            )
    return CifarC(name, folder, labels, choice, files)


def _folder(name: str, root: Path) -> Path:
    folder = root / FOLDERS[name] if (root / FOLDERS[name]).is_dir() else root
    if not folder.is_dir():
        raise UsageError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; write {name}:ROOT")
    others = [other for other, published in FOLDERS.items() if folder.resolve().name == published and other != name]
    if others:
        raise UsageError(f"{folder}: this is the folder of {others[0]}: write {others[0]}:{root}")
    if not (folder / LABELS).is_file():
        raise UsageError(
            f"{folder}: has no {LABELS}; {name}:ROOT needs the unpacked {FOLDERS[name]}, with {LABELS} beside the "
            "corruptions' .npy files"
        )
    return folder


def _labels(name: str, folder: Path) -> np.ndarray:
    """Return the labels of the base images: `labels.npy` repeats them for every severity."""
    path = folder / LABELS
    stored = BlockFile(path).array
    if len(stored.shape) != 1 or not np.issubdtype(stored.dtype, np.integer) or not len(stored):
        raise UsageError(f"{path}: holds {sizes(stored.shape)} of {stored.dtype}, not a list of whole numbers")
    if len(stored) % len(SEVERITIES):
        raise UsageError(f"{path}: {len(stored)} labels are not a multiple of five, one block for each severity")
    blocks = stored.rows(range(len(stored))).astype(np.int64).reshape(len(SEVERITIES), -1)
    labels: np.ndarray = blocks[0]
    if (blocks != labels).any():
        raise UsageError(f"{path}: the labels of the five severities differ; they should be five times the same")
    classes = len(CLASSES[CLEAN[name]])
    if labels.min() < 0 or labels.max() >= classes:
        found = int(labels.min() if labels.min() < 0 else labels.max())
        raise UsageError(f"{path}: label {found} is not one of the {classes} classes of {CLEAN[name]}")
    if labels.max() < len(CLASSES["cifar10"]) < classes and len(labels) >= FEW:
        raise UsageError(f"{path}: its labels are those of CIFAR-10: write cifar10-c:{folder}")
    return labels


@dataclass(frozen=True, eq=False)
class CifarArchive:
    """The published images of CIFAR's test set under common corruptions, in the order of the clean test images.

    Attributes:
        name: that of the published archive, e.g. ``CIFAR-10-C``.
        files: corruption → its file.
        rows: number of test images.
        resize: as the clean images are resized.
    """

    name: str
    files: Mapping[str, BlockFile]
    rows: int
    resize: Resize | None

    def images(self, name: str, severity: int, indices: Sequence[int]) -> Tensor:
        """Return the images at those positions under corruption `name`, (n, 3, H, W) in [0, 1]."""
        return self._block(name, severity).load(indices)

    def sha256(self, name: str, severity: int, count: int) -> str:
        """Return the SHA-256 of the first `count` images under corruption `name`, in hexadecimal."""
        digest = hashlib.sha256()
        self._block(name, severity).update_hash(digest, count)
        return digest.hexdigest()

    def _block(self, name: str, severity: int) -> BlockStore:
        return BlockStore((self.files[name],), ((severity - 1) * self.rows,), self.rows, self.resize)


def archive_of(source: Cifar, labels: np.ndarray, resize: Resize | None) -> CifarArchive | None:
    """Return the published archive beside the files of a CIFAR data set; None if there is none.

    Args:
        source: the data set with the clean images, below a folder in which the archive is looked for.
        labels: those of its test images.
        resize: as they are resized.

    Raises:
        UsageError: there is an archive, but its files are damaged or belong to other images.
    """
    name = next(key for key, clean in CLEAN.items() if clean == source.name)
    folder = source.root / FOLDERS[name]
    if not folder.is_dir():
        return None
    found = open_cifarc(name, folder, {"corruption": "all"})
    if not np.array_equal(found.labels[: len(labels)], labels):
        raise UsageError(f"{folder}: its labels are not those of {source.name}'s test images; unpack the archive again")
    return CifarArchive(FOLDERS[name], found.files, len(found.labels), resize)
