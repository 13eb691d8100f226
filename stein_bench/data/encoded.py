"""A data set of encoded images (JPEG, PNG, …) inside of other files, decoded with Pillow on demand."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from stein_bench.data.arrays import channels_first
from stein_bench.data.imagefiles import Size, SizedImages, image_size, read_rgb, readable, size_text
from stein_bench.data.imagesurvey import Facts, ImageSurvey, look_at
from stein_bench.data.order import sorted_note
from stein_bench.data.resize import Resize, resize_image
from stein_bench.data.samples import Samples
from stein_bench.data.soundimages import OnDamage, SurveyedStore
from stein_bench.errors import UsageError

PROBED = 16
"""Number of samples whose sizes are compared before any are read; all others are when they are surveyed."""


class Contents(Protocol):
    """The encoded images of a split, in data order; can be pickled."""

    @property
    def whole(self) -> str:
        """How errors call all of them."""

    def read(self, index: int) -> bytes:
        """Return the content of an image file, empty if there is none; UsageError if it cannot be accessed."""

    def name(self, index: int) -> str:
        """Return how notes call an image, beside the name of the data set."""

    def where(self, index: int) -> str:
        """Return how errors call an image."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Those of the `contents` that are at `indices`."""

    contents: Contents
    indices: Sequence[int]

    @property
    def whole(self) -> str:
        return self.contents.whole

    def read(self, index: int) -> bytes:
        return self.contents.read(self.indices[index])

    def name(self, index: int) -> str:
        return self.contents.name(self.indices[index])

    def where(self, index: int) -> str:
        return self.contents.where(self.indices[index])


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """`Images` of contents, for a survey: read in one thread, since libraries promise nothing else, then decoded."""

    contents: Contents
    upright: bool
    noun: ClassVar[str] = "images"

    @property
    def whole(self) -> str:
        return self.contents.whole

    def name(self, index: int) -> str:
        return self.contents.name(index)

    def where(self, index: int) -> str:
        return self.contents.where(index)

    def look(self, index: int) -> Callable[[], Facts]:
        return partial(look_at, self.contents.read(index), self.where(index), self.upright)


@dataclass(frozen=True, eq=False)
class Part:
    """One split: its images, labels int64 (n,), unique ids, and how it was read."""

    contents: Contents
    labels: np.ndarray
    ids: Sequence[str]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class EncodedStore:
    """A `Store` of encoded images; without a `resize` all must be of `size` (height, width).

    Pixels are those of `FileStore`, but EXIF orientation is applied if `upright`. `labels` are those of the whole set.
    """

    contents: Contents
    labels: np.ndarray
    size: Size
    resize: Resize | None
    upright: bool
    in_memory: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, *(self.resize.sides if self.resize else self.size))

    def load(self, indices: Sequence[int]) -> Tensor:
        images = [self._pixels(index) for index in indices]
        return channels_first(np.stack(images)) if images else torch.zeros((0, *self.shape))

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        digest.update(f"encoded RGB {self.resize} upright={self.upright}\n".encode())
        for index in range(count):
            content = self.contents.read(index)
            digest.update(struct.pack("<q", len(content)))  # separates one image from the next
            digest.update(content)

    def notes(self, count: int) -> tuple[str, ...]:
        """Return whether the order is by class; of a part of the samples, `Samples.first` says so."""
        return sorted_note(self.labels, count) if count >= len(self.labels) else ()

    def only(self, indices: Sequence[int]) -> EncodedStore:
        """Return a store of the images at `indices`."""
        rest = range(max(indices, default=-1) + 1, len(self.labels))  # not read: the order is that of the whole set
        return replace(self, contents=Chosen(self.contents, indices), labels=self.labels[[*indices, *rest]])

    def _pixels(self, index: int) -> np.ndarray:
        where, content = self.contents.where(index), self.contents.read(index)
        if not content:
            raise UsageError(f"{where}: there is no image; remove it")
        with readable(where):
            rgb = read_rgb(content, where, self.upright)
            pixels = np.asarray(resize_image(rgb, self.resize) if self.resize else rgb)
        if pixels.shape[:2] != self.shape[1:]:
            found, first = size_text(pixels.shape[:2]), size_text(self.shape[1:])
            raise UsageError(f"{where}: {found} pixels, and the first {first}; give --image-size")
        return pixels


@dataclass(frozen=True, eq=False)
class EncodedData(SizedImages):
    """A data set of RGB images in [0, 1] whose `parts` are ``test`` and perhaps ``train``, in their own order."""

    name: str
    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    label_space: str | None
    upright: bool
    no_training: str
    on_damage: OnDamage = "skip"
    task: str = "classification"
    channels: int = 3

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "test") if "train" in self.parts else ("test",)

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in the order of its files."""
        if split not in self.parts:
            raise UsageError(f"{self.name} has no split {split!r}; {self.no_training}")
        part, size = self.parts[split], self._size(resize, self.name)
        images = EncodedStore(part.contents, part.labels, size, resize, self.upright)
        store = SurveyedStore(images, self._surveys[split], self.on_damage, None if resize else size)
        return Samples(
            self.name, split, self.classes, part.labels, part.ids, store, self.label_space, remarks=part.remarks
        )

    @cached_property
    def _surveys(self) -> dict[str, ImageSurvey]:
        """One for each split, kept: several trainings need not read its images anew."""
        return {s: ImageSurvey(EncodedImages(part.contents, self.upright)) for s, part in self.parts.items()}

    @cached_property
    def _sizes(self) -> dict[Size, str]:
        """(height, width) → an image of that size, of a few in every split; stops at the second size.

        Images without a readable header are passed over: the survey reports them. Raises UsageError if all are.
        """
        sizes: dict[Size, str] = {}
        first: UsageError | None = None
        for part in self.parts.values():
            for index in sorted({round(index) for index in np.linspace(0, len(part.ids) - 1, PROBED)}):
                where = part.contents.where(index)
                try:
                    sizes.setdefault(image_size(part.contents.read(index), where, self.upright), where)
                except UsageError as error:
                    first = first or error
                if len(sizes) > 1:
                    return sizes
        if not sizes and first is not None:
            raise first
        return sizes
