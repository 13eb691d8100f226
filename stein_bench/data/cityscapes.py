"""The data source ``cityscapes:ROOT[,damaged=skip|refuse]``: street scenes in the official layout, in 19 classes.

Source: M. Cordts et al., "The Cityscapes dataset for semantic urban scene understanding" (2016), and the label table of
its official scripts.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stein_bench.data.imagefiles import FileStore, image_size, open_image, readable, size_text
from stein_bench.data.imagesurvey import USUAL, Facts, ImageSurvey, examined, look_at
from stein_bench.data.options import split_options
from stein_bench.data.order import in_data_order
from stein_bench.data.paths import user_path
from stein_bench.data.resize import Resize, Stretch
from stein_bench.data.samples import OWN, Samples
from stein_bench.data.soundimages import OnDamage, SurveyedStore, on_damage
from stein_bench.errors import UsageError
from stein_bench.tasks import IGNORE

IMAGES, LABELS = "leftImg8bit", "gtFine"
IMAGE_END, LABEL_END = "_leftImg8bit.png", "_gtFine_labelIds.png"
SPLITS = {"train": "train", "test": "val"}
"""Split → folder. The official test split has no public labels, so the validation split is evaluated."""
DEFAULT_HEIGHT = 256

TRAINED = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
"""Label ID → class, in the order of the training IDs 0 to 18; every other label ID is void."""
LAST_ID = 33
LICENSE_PLATE = 255
"""Its label ID is -1, stored in 8 bits as 255."""


def training_ids() -> np.ndarray:
    """Return the official table, uint8 (256,): label ID → training ID, `IGNORE` for void."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(TRAINED)] = np.arange(len(TRAINED))
    return table


@dataclass(frozen=True, eq=False)
class CityscapesMaps:
    """The label maps of a split: `paths` relative to `root`, resized to `stretch` by the nearest pixel."""

    root: Path
    paths: tuple[str, ...]
    stretch: Stretch

    def load(self, indices: Sequence[int]) -> Tensor:
        table = training_ids()
        maps = [table[self._label_ids(self.root / self.paths[index])] for index in indices]
        shape = (0, *self.stretch.sides)
        return torch.from_numpy(np.stack(maps).astype(np.int64)) if maps else torch.zeros(shape, dtype=torch.int64)

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        digest.update(f"cityscapes label IDs {self.stretch} nearest\n".encode())
        for relative in self.paths[:count]:
            with readable(self.root / relative):
                content = (self.root / relative).read_bytes()
            digest.update(struct.pack("<q", len(content)))
            digest.update(content)

    def only(self, indices: Sequence[int]) -> CityscapesMaps:
        """Return the label maps at `indices`."""
        return replace(self, paths=tuple(self.paths[index] for index in indices))

    def _label_ids(self, path: Path) -> np.ndarray:
        with readable(path), open_image(path) as image:
            check_label_ids(path, image)
            return np.asarray(self.stretch.apply(image, "nearest"))


def check_label_ids(path: Path, image: Image.Image) -> None:
    """Raise a `UsageError` unless an open label map holds Cityscapes' label IDs, which are read for that."""
    if image.mode != "L":
        raise UsageError(f"{path}: mode {image.mode}, not one 8-bit label ID per pixel (mode L)")
    found = (label for label, pixels in enumerate(image.histogram()) if pixels)
    strange = [label for label in found if label > LAST_ID and label != LICENSE_PLATE]
    if strange:
        raise UsageError(
            f"{path}: the label ID {strange[0]} is not one of Cityscapes' (0 to {LAST_ID}); is this another label file?"
        )


@dataclass(frozen=True, eq=False)
class ScenePairs:
    """Pairs of an image and its label map, for a survey: a pair is damaged if one of the two is."""

    root: Path
    pairs: Sequence[tuple[str, str]]
    noun: ClassVar[str] = "pairs of image and label map"
    upright: ClassVar[bool] = False

    @property
    def whole(self) -> str:
        return str(self.root)

    def name(self, index: int) -> str:
        return self.pairs[index][0]

    def where(self, index: int) -> str:
        return str(self.root / self.pairs[index][0])

    def look(self, index: int) -> Callable[[], Facts]:
        return partial(self._look, *self.pairs[index])

    def _look(self, image: str, label: str) -> Facts:
        facts, path = look_at(self.root / image, str(self.root / image)), self.root / label
        damage = examined(path, str(path), partial(_looked_at, path)).damage
        return facts if facts.damage or not damage else replace(facts, damage=damage, damaged=label)


def _looked_at(path: Path, image: Image.Image) -> Facts:
    check_label_ids(path, image)
    return USUAL


@dataclass(frozen=True, eq=False)
class Cityscapes:
    """Pairs of images and label maps below `root`; `pairs` is split → (image, label map), relative, in data order."""

    root: Path
    pairs: dict[str, tuple[tuple[str, str], ...]]
    on_damage: OnDamage = "skip"
    task: str = "segmentation"
    label_space: str | None = OWN
    native_size: int | None = None
    uniform: bool = True
    channels: int = 3

    @property
    def name(self) -> str:
        return "cityscapes"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(TRAINED.values())

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.pairs)

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split`, N×2N pixels for a `resize` to N, else 256×512: images bilinear, labels nearest.

        A fixed seed permutes the order, so that a limit does not select one city. Raises UsageError if an image and its
        label map differ in size.
        """
        if split not in self.pairs:
            raise UsageError(f"{self.root}: has no split {split!r}; put it into {IMAGES}/{SPLITS.get(split, split)}")
        self._check_sizes(split)
        height = DEFAULT_HEIGHT if resize is None else resize.size
        stretch = Stretch(height, 2 * height)
        images, labels = zip(*self.pairs[split], strict=True)
        ids = tuple(f"{SPLITS[split]}/{Path(image).name.removesuffix(IMAGE_END)}" for image in images)
        files = FileStore(self.root, images, stretch.sides, stretch)
        return Samples(
            self.name, split, self.classes, np.empty(0), ids,
            SurveyedStore(files, self._surveys[split], self.on_damage),
            self.label_space, self.task, CityscapesMaps(self.root, labels, stretch),
        )  # fmt: skip

    @cached_property
    def _surveys(self) -> dict[str, ImageSurvey]:
        """One for each split, kept: several trainings need not read its files anew."""
        return {split: ImageSurvey(ScenePairs(self.root, pairs)) for split, pairs in self.pairs.items()}

    def _check_sizes(self, split: str) -> None:
        """Raise a `UsageError` for the first pair of different sizes; the survey reports those without a header."""
        for image, label in self.pairs[split]:
            try:
                own, its = (image_size(self.root / path, self.root / path) for path in (image, label))
            except UsageError:
                continue
            if own != its:
                raise UsageError(
                    f"{self.root / label}: {size_text(its)} pixels, but its image has {size_text(own)}; they must agree"
                )


def open_cityscapes_spec(text: str) -> Cityscapes:
    """Return the source of ``ROOT[,damaged=skip|refuse]``; UsageError for anything wrong."""
    path, given = split_options(text, ("damaged",), "cityscapes")
    return open_cityscapes(user_path(path), on_damage(given, f"cityscapes:{text}"))


def open_cityscapes(root: Path, on_damage: OnDamage = "skip") -> Cityscapes:
    """Find the pairs below `root`; UsageError, naming what is missing, if it does not have the official layout."""
    if not root.is_dir():
        raise UsageError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; write cityscapes:ROOT")
    for kind in (IMAGES, LABELS):
        if not (root / kind).is_dir():
            raise UsageError(
                f"{root}: has no folder {kind}; cityscapes:ROOT is the folder that contains {IMAGES}/ and {LABELS}/"
            )
    pairs = {split: _pairs(root, folder) for split, folder in SPLITS.items() if (root / IMAGES / folder).is_dir()}
    if "test" not in pairs:
        raise UsageError(f"{root / IMAGES}: has no folder val, which contains the images to evaluate")
    return Cityscapes(root, pairs, on_damage)


def _pairs(root: Path, folder: str) -> tuple[tuple[str, str], ...]:
    images = sorted(path.relative_to(root) for path in (root / IMAGES / folder).glob(f"*/*{IMAGE_END}"))
    if not images:
        raise UsageError(f"{root / IMAGES / folder}: holds no CITY/*{IMAGE_END}")
    found = [(image.as_posix(), _label_of(image)) for image in in_data_order(images)]
    missing = [label for _, label in found if not (root / label).is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(f"{root / missing[0]}: no such file{more}; every image needs its label IDs")
    return tuple(found)


def _label_of(image: Path) -> str:
    _, folder, city, name = image.parts
    return os.path.join(LABELS, folder, city, name.removesuffix(IMAGE_END) + LABEL_END)
