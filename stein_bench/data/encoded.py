"""A data set of encoded images (JPEG, PNG, …) inside of other files, decoded with Pillow on demand."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stein_bench.data.arrays import channels_first
from stein_bench.data.imagefiles import as_rgb, check_mode, readable, size_text
from stein_bench.data.order import sorted_note
from stein_bench.data.resize import Resize, resize_image
from stein_bench.data.samples import Samples
from stein_bench.errors import UsageError

PROBED = 16
"""Number of samples whose sizes are compared before any are read; others are checked as they are read."""


class Contents(Protocol):
    """The encoded images of a split, in data order; can be pickled."""

    def read(self, index: int) -> bytes:
        """Return the bytes of an image file; UsageError if they cannot be read."""

    def where(self, index: int) -> str:
        """Return how errors call an image."""


@dataclass(frozen=True, eq=False)
class Part:
    """One split: its images, labels int64 (n,), unique ids, and how it was read."""

    contents: Contents
    labels: np.ndarray
    ids: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class EncodedStore:
    """A `Store` of encoded images; without a `resize` all must be of `size` (height, width).

    Gray and palette images become RGB, alpha is dropped. EXIF orientation is applied if `upright`.
    """

    contents: Contents
    labels: np.ndarray
    size: tuple[int, int]
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
        """Return whether the order is by class."""
        return sorted_note(self.labels, count)

    def _pixels(self, index: int) -> np.ndarray:
        where = self.contents.where(index)
        with readable(where), Image.open(io.BytesIO(self.contents.read(index))) as image:
            check_mode(where, image)
            rgb = as_rgb(image)
            if self.upright and "exif" in image.info:
                rgb.info["exif"] = image.info["exif"]
                rgb = ImageOps.exif_transpose(rgb)
            pixels = np.asarray(resize_image(rgb, self.resize) if self.resize else rgb)
        if pixels.shape[:2] != self.shape[1:]:
            found, first = size_text(pixels.shape[:2]), size_text(self.shape[1:])
            raise UsageError(f"{where}: {found} pixels, and the first {first}; give --image-size")
        return pixels


@dataclass(frozen=True, eq=False)
class EncodedData:
    """A data set of RGB images in [0, 1] whose `parts` are ``test`` and perhaps ``train``, in their own order."""

    name: str
    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    label_space: str | None
    upright: bool
    no_training: str
    task: str = "classification"
    channels: int = 3

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "test") if "train" in self.parts else ("test",)

    @property
    def uniform(self) -> bool:
        """Whether the first, the last and a few other samples have the same size."""
        return len(self._sizes) == 1

    @property
    def native_size(self) -> int | None:
        height, width = next(iter(self._sizes))
        return height if self.uniform and height == width else None

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in the order of its files."""
        if split not in self.parts:
            raise UsageError(f"{self.name} has no split {split!r}; {self.no_training}")
        if resize is None and not self.uniform:
            found = " and ".join(f"{where} {size_text(size)}" for size, where in list(self._sizes.items())[:2])
            raise UsageError(f"{self.name}: images differ in size ({found}); give --image-size")
        part = self.parts[split]
        store = EncodedStore(part.contents, part.labels, next(iter(self._sizes)), resize, self.upright)
        return Samples(
            self.name, split, self.classes, part.labels, part.ids, store, self.label_space, remarks=part.remarks
        )

    @cached_property
    def _sizes(self) -> dict[tuple[int, int], str]:
        """(height, width) → an image of that size, in all splits; (0, 0) stands for none."""
        sizes: dict[tuple[int, int], str] = {}
        for part in self.parts.values():
            for index in sorted({round(index) for index in np.linspace(0, len(part.ids) - 1, PROBED)}):
                sizes.setdefault(_size(part.contents, index, self.upright), part.contents.where(index))
        return sizes


def _size(contents: Contents, index: int, upright: bool) -> tuple[int, int]:
    with readable(contents.where(index)), Image.open(io.BytesIO(contents.read(index))) as image:
        turned = upright and image.getexif().get(0x0112, 1) >= 5  # the EXIF orientations that exchange the axes
        return (image.width, image.height) if turned else (image.height, image.width)
