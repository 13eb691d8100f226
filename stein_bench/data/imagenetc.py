"""The data source ``imagenet-c:ROOT``: folders of corrupted images, ROOT/CORRUPTION/SEVERITY/CLASS/FILE.

ImageNet-C (D. Hendrycks and T. Dietterich, ICLR 2019; zenodo.org, record 2235448) is published as noise.tar, blur.tar,
weather.tar, digital.tar and extra.tar, which unpack into folders named after corruptions; within them are the
severities 1 to 5, and in these the classes by wnid. The files are ImageNet's validation images, already cropped to
224×224 pixels, with the same name in every corruption and severity.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from stein_bench.data.classfolders import folder_labels, subfolders
from stein_bench.data.corruptions import SEVERITIES, Choice, choose
from stein_bench.data.crossed import Crossed
from stein_bench.data.imagefiles import FileStore, SizedImages, image_paths, image_size
from stein_bench.data.imagesurvey import ImageFiles, ImageSurvey
from stein_bench.data.order import in_data_order
from stein_bench.data.paths import as_text
from stein_bench.data.resize import Resize
from stein_bench.data.samples import Samples
from stein_bench.data.soundimages import SurveyedStore
from stein_bench.errors import UsageError

ARCHIVES = ("noise", "blur", "weather", "digital", "extra")
"""Names of the published archives; some people keep a folder for each."""

_LEVELS = frozenset(map(str, SEVERITIES))


@dataclass(frozen=True, eq=False)
class ImageNetC(SizedImages):
    """Corrupted RGB images of files below `root`: a test split only.

    `cells` is cell → its folder relative to `root`; `label_of` is class folder → label.
    """

    root: Path
    choice: Choice
    cells: Mapping[str, str]
    label_of: Mapping[str, int]
    classes: tuple[str, ...]
    label_space: str | None
    name: str = "imagenet-c"
    task: str = "classification"
    splits: tuple[str, ...] = ("test",)
    channels: int = 3

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the chosen cells, base image by base image, these in an order permuted with a fixed seed."""
        if split != "test":
            raise UsageError(f"{self.name} has no split {split!r}, only test; train on an imagefolder")
        size = self._size(resize, self.root)
        remarks = self.choice.remarks
        if resize is not None and resize.crop_pct != 1:
            resize = replace(resize, crop_pct=1.0)
            remarks = (*remarks, f"images are cropped already: resized to {resize.size} pixels without another crop")
        files, cells = self._files, tuple(self.cells)
        paths = Crossed(files, tuple(self.cells.values()))
        survey = ImageSurvey(ImageFiles(self.root, paths))
        store = SurveyedStore(FileStore(self.root, paths, size, resize), survey, size=None if resize else size)
        return Samples(
            self.name, split, self.classes,
            np.repeat([self.label_of[file.partition("/")[0]] for file in files], len(cells)),
            Crossed(tuple(map(as_text, files)), cells), store, self.label_space, cells=cells, remarks=remarks,
        )  # fmt: skip

    @cached_property
    def _files(self) -> tuple[str, ...]:
        """The files of every cell, relative to its folder, in data order."""
        (first, folder), *others = self.cells.items()
        files = self._listed(folder)
        if not files:
            raise UsageError(f"{self.root / folder}: its class folders contain no images")
        for cell, other in others:
            if apart := files ^ self._listed(other):
                example = min(apart)
                has, lacks = (first, cell) if example in files else (cell, first)
                more = f" ({len(apart)} files differ)" if len(apart) > 1 else ""
                raise UsageError(
                    f"{self.root}: {example} is in {has} but not in {lacks}{more}; every corruption and severity needs "
                    "the same images: unpack the archives again"
                )
        return tuple(in_data_order(sorted(files)))

    def _listed(self, folder: str) -> set[str]:
        cell = self.root / folder
        return {
            os.path.relpath(path, cell).replace(os.sep, "/")
            for name in subfolders(cell)
            for path in image_paths(cell / name)
        }

    @cached_property
    def _sizes(self) -> dict[tuple[int, int], str]:
        """(height, width) → a file of that size, from the header of one file in every cell."""
        sizes: dict[tuple[int, int], str] = {}
        for folder in self.cells.values():
            path = f"{folder}/{self._files[0]}"
            sizes.setdefault(image_size(self.root / path, self.root / path), path)
        return sizes


def open_imagenetc(root: Path, options: Mapping[str, str]) -> ImageNetC:
    """Read and check the folder names below `root`; UsageError for anything wrong."""
    if not root.is_dir():
        raise UsageError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; write imagenet-c:ROOT")
    found = _corruptions(root)
    choice = choose(options, list(found), str(root))
    cells = {cell: f"{found[cell.partition('/')[0]]}/{cell.partition('/')[2]}" for cell in choice.cells}
    missing = [folder for folder in cells.values() if not (root / folder).is_dir()]
    if missing:
        raise UsageError(
            f"{root}: has no folder {missing[0]}; unpack it, or choose with severity=N and corruption=NAME"
        )
    first = root / next(iter(cells.values()))
    classes = subfolders(first)
    if not classes:
        raise UsageError(f"{first}: holds no folders; the images of each class belong in a separate folder")
    labels = folder_labels(first, {"test": classes}, None)
    return ImageNetC(root, choice, cells, labels.of, labels.classes, labels.space)


def _corruptions(root: Path) -> dict[str, str]:
    """Return corruption → its folder relative to `root`, directly in it or in a folder of an archive's name."""
    here = subfolders(root)
    if _LEVELS & here.keys():
        raise UsageError(
            f"{root}: holds severities, so it is a corruption: write imagenet-c:{root.parent},corruption={root.name}"
        )
    places = [name for name in here if _LEVELS & subfolders(root / name).keys()]
    for archive in [name for name in ARCHIVES if name in here and name not in places]:
        places += [f"{archive}/{name}" for name, folder in subfolders(root / archive).items() if _has_levels(folder)]
    if not places:
        raise UsageError(f"{root}: holds no folders of corruptions; the layout is ROOT/CORRUPTION/SEVERITY/CLASS/FILE")
    names = [place.rpartition("/")[2] for place in places]
    if twice := [name for name in names if names.count(name) > 1]:
        both = [place for place in places if place.rpartition("/")[2] == twice[0]]
        raise UsageError(f"{root}: holds {' and '.join(both)}; remove one of them")
    return dict(zip(names, places, strict=True))


def _has_levels(folder: Path) -> bool:
    return bool(_LEVELS & subfolders(folder).keys())
