"""The data source ``imagefolder:PATH``: one folder of image files per class, read on demand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stein_bench.data.classfolders import label_names, split_folders
from stein_bench.data.imagefiles import EXTENSIONS, FileStore, image_paths, image_size
from stein_bench.data.order import in_data_order
from stein_bench.data.resize import Resize
from stein_bench.data.samples import Samples
from stein_bench.errors import UsageError


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """RGB images of files below `root`; `folders` is split → class folder name → class folder."""

    root: Path
    folders: Mapping[str, Mapping[str, Path]]
    label_of: Mapping[str, int]
    classes: tuple[str, ...]
    label_space: str | None
    task: str = "classification"
    channels: int = 3

    @property
    def name(self) -> str:
        return f"imagefolder:{self.root.resolve().name}"

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.folders)

    @property
    def uniform(self) -> bool:
        return len(self._sizes) == 1

    @property
    def native_size(self) -> int | None:
        height, width = next(iter(self._sizes))
        return height if self.uniform and height == width else None

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in an order permuted with a fixed seed, so that a limit does not select one class."""
        if split not in self.folders:
            raise UsageError(
                f"{self.root}: has no split {split!r}; put class folders into train/ and val/ to have both"
            )
        if resize is None and not self.uniform:
            sizes = " and ".join(f"{path} {width}×{height}" for (height, width), path in self._sizes.items())
            raise UsageError(f"{self.root}: images differ in size ({sizes}); give --image-size")
        listed = self._files[split]
        paths = tuple(path for path, _ in listed)
        labels = np.array([label for _, label in listed], dtype=np.int64)
        size = (resize.size, resize.size) if resize else next(iter(self._sizes))
        store = FileStore(self.root, paths, size, resize)
        ids = tuple(map(_as_text, paths))
        return Samples(self.name, split, self.classes, labels, ids, store, self.label_space)

    @cached_property
    def _files(self) -> dict[str, list[tuple[str, int]]]:
        """Split → (path relative to the root, label) in data order."""
        return {split: in_data_order(sorted(self._listed(split))) for split in self.folders}

    def _listed(self, split: str) -> list[tuple[str, int]]:
        return [
            (Path(path).relative_to(self.root).as_posix(), self.label_of[name])
            for name, folder in self.folders[split].items()
            for path in image_paths(folder)
        ]

    @cached_property
    def _sizes(self) -> dict[tuple[int, int], str]:
        """(height, width) → a file of that size, from the headers; stops at the second size."""
        sizes: dict[tuple[int, int], str] = {}
        for listed in self._files.values():
            for path, _ in listed:
                sizes.setdefault(image_size(self.root / path), path)
                if len(sizes) > 1:
                    return sizes
        return sizes


def open_imagefolder(root: Path) -> ImageFolder:
    """Read and check the folder names below `root`; UsageError, with the names, for anything wrong."""
    folders = split_folders(root)
    labels, classes, label_space = label_names(root, folders)
    for split, by_class in folders.items():
        if not any(True for folder in by_class.values() for _ in image_paths(folder)):
            known = ", ".join(sorted(EXTENSIONS))
            raise UsageError(f"{root}: the class folders of the {split} split contain no images ({known})")
    return ImageFolder(root, folders, labels, classes, label_space)


def _as_text(path: str) -> str:
    """Return `path` as valid Unicode: file names may contain any bytes, and reports are UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
