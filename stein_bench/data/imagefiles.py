"""Images read with Pillow: from files, which a store reads on demand, or from their contents."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from stein_bench.data.arrays import channels_first
from stein_bench.data.resize import Resize, Stretch, resize_image
from stein_bench.data.texts import Texts
from stein_bench.errors import UsageError

Size = tuple[int, int]
"""Height and width in pixels."""

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Suffixes of image files, in lower case: torchvision's list."""

OTHER_EXTENSIONS = frozenset({".gif", ".jfif", ".jpe", ".jp2", ".heic", ".heif", ".avif", ".tga", ".dng"})
"""Suffixes of files that look like images, but that neither torchvision nor this package looks for in class folders."""

MOST_PIXELS = 2**30 // 6
"""Pixels of an image, 178 million: Pillow's own limit, from which on it refuses to open a file."""

# Pillow's decoders raise all of these on damaged files.
CORRUPT = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

CONVERTED = {
    "RGB": "color",
    "L": "gray",
    "1": "black and white",
    "LA": "gray with alpha, which is dropped",
    "P": "palette",
    "PA": "palette with alpha, which is dropped",
    "RGBA": "color with alpha, which is dropped",
    "RGBX": "color with a fourth channel, which is dropped",
    "CMYK": "CMYK, without color management",
    "YCbCr": "YCbCr",
    "HSV": "HSV",
    "LAB": "L*a*b*, as sRGB",
    "RGBa": "color with alpha, which is dropped",
}
"""Modes of 8-bit images that Pillow converts to RGB → what they are."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what shows the image upright (CIPA DC-008, "Orientation"); from 5 on the axes are exchanged."""


@dataclass(frozen=True, eq=False)
class FileStore:
    """A `Store` of image files: `paths` relative to `root`, in data order.

    Without a `resize` all files must be of `size` (height, width). Pixels are those of ``Image.convert("RGB")``, as in
    timm (`timm.data.dataset.ImageDataset`) and torchvision (`torchvision.datasets.folder.pil_loader`): EXIF orientation
    is ignored, except in TIFF files, which Pillow itself turns; alpha is dropped; gray and palette images become RGB.
    Only 16-bit gray images are read otherwise, see `as_rgb`. Of several frames the first is read.
    """

    root: Path
    paths: Sequence[str]
    size: tuple[int, int]
    resize: Resize | Stretch | None = None
    in_memory: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, *(self.resize.sides if self.resize else self.size))

    def load(self, indices: Sequence[int]) -> Tensor:
        images = [self._pixels(self.root / self.paths[index]) for index in indices]
        return channels_first(np.stack(images)) if images else torch.zeros((0, *self.shape))

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        digest.update(f"files RGB {self.resize}\n".encode())
        for relative in islice(self.paths, count):
            with readable(self.root / relative):
                content = (self.root / relative).read_bytes()
            digest.update(struct.pack("<q", len(content)))  # separates one file from the next
            digest.update(content)

    def only(self, indices: Sequence[int]) -> FileStore:
        """Return a store of the files at `indices`."""
        return replace(self, paths=Texts.of(self.paths[index] for index in indices))

    def first(self, count: int) -> FileStore:
        """Return a store of the first `count` files: what other processes get of a million names is no more."""
        return replace(self, paths=self.paths[:count]) if isinstance(self.paths, Texts) else self

    def _pixels(self, path: Path) -> np.ndarray:
        with readable(path):
            rgb = read_rgb(path, path)
            if self.resize:
                rgb = self.resize.apply(rgb) if isinstance(self.resize, Stretch) else resize_image(rgb, self.resize)
            pixels = np.asarray(rgb)
        if pixels.shape[:2] != self.shape[1:]:
            raise UsageError(f"{path}: {size_text(pixels.shape[:2])} pixels, not {size_text(self.shape[1:])}")
        return pixels


class SizedImages(ABC):
    """Images of a data source, some of which were looked at for their size."""

    @property
    @abstractmethod
    def _sizes(self) -> Mapping[tuple[int, int], str]:
        """(height, width) → an image of that size, for messages."""

    @property
    def uniform(self) -> bool:
        """Whether all images that were looked at have one size."""
        return len(self._sizes) == 1

    @property
    def native_size(self) -> int | None:
        """The side of the images if all are square and of one size."""
        height, width = next(iter(self._sizes))
        return height if self.uniform and height == width else None

    def _size(self, resize: Resize | None, where: object) -> tuple[int, int]:
        """Return (height, width) of the samples; UsageError, naming `where`, if sizes differ and none is asked for."""
        if resize is None and not self.uniform:
            sizes = " and ".join(f"{image} {size_text(size)}" for size, image in self._sizes.items())
            raise UsageError(f"{where}: images differ in size ({sizes}); give --image-size")
        return resize.sides if resize else next(iter(self._sizes))


def image_paths(folder: Path, others: Counter[str] | None = None) -> Iterator[str]:
    """Yield the paths of the images below `folder`, without hidden files and folders, in no particular order.

    `others` counts the suffixes of files that are images as well, but not of a kind that torchvision looks for.
    """
    for parent, folders, names in os.walk(folder, onerror=refuse_unlisted, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix in EXTENSIONS:
                yield os.path.join(parent, name)
            elif others is not None and suffix in OTHER_EXTENSIONS:
                others[suffix] += 1


def refuse_unlisted(error: OSError) -> None:
    """Raise a UsageError for a folder that cannot be listed: continuing would silently omit its images."""
    raise UsageError(f"{error.filename}: cannot be listed ({error.strerror or error})") from error


def open_image(content: Path | bytes) -> Image.Image:
    """Open an image file, or its content; raises what Pillow raises, also for more than `MOST_PIXELS`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # at half of the limit
        image = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
    if image.width * image.height > MOST_PIXELS:  # Pillow's own limit can be switched off
        image.close()
        raise Image.DecompressionBombError(f"{image.width}×{image.height} pixels, more than {MOST_PIXELS:,}")
    return image


def read_rgb(content: Path | bytes, where: Path | str, upright: bool = False) -> Image.Image:
    """Return an image file, or its content, as RGB, turned by its EXIF orientation if `upright`.

    Raises what Pillow raises, and UsageError, naming `where`, for a mode that has no RGB.
    """
    with open_image(content) as image:
        check_mode(where, image)
        rgb = as_rgb(image)
        how = _UPRIGHT.get(orientation(image)) if upright else None
    return rgb if how is None else rgb.transpose(how)


def image_size(content: Path | bytes, where: Path | str, upright: bool = False) -> Size:
    """Return (height, width) from the header of an image file or its content, turned by EXIF orientation if `upright`.

    Raises UsageError, naming `where`, if it is not an image.
    """
    with readable(where), open_image(content) as image:
        if image.format != "TIFF":
            size = (image.height, image.width)
            return shown_size(size, orientation(image)) if upright else size
        if orientation(image) != 1:
            image.load()  # Pillow turns TIFF files as it loads them; before version 11 the header's size is not turned
        return image.height, image.width


def check_mode(path: Path | str, image: Image.Image) -> None:
    """Raise a `UsageError` if values of an open image have no fixed range or are not converted to RGB by Pillow."""
    if image.mode in CONVERTED or is_16_bit_gray(image):
        return
    if image.mode.startswith(("I", "F")):
        kind = "floating-point values" if image.mode == "F" else "32-bit integers"
        raise UsageError(
            f"{path}: {kind} (mode {image.mode}), of which no range is black to white; convert it to 8 bits"
        )
    raise UsageError(f"{path}: mode {image.mode}, which Pillow does not convert to RGB; convert it")


def is_16_bit_gray(image: Image.Image) -> bool:
    """Return whether an open image has 16 bits for gray, 0 to 65535.

    Pillow opens PNG files of that kind as 32-bit integers before version 11, and PGM files to this day; it scales PGM
    files with another maximum to 65535.
    """
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an open image as 8-bit RGB: what ``image.convert("RGB")`` gives, but for 16-bit gray.

    There Pillow would clip at 255, giving a white image. Its high 8 bits are used, as Pillow does for 16-bit color.
    """
    image.load()
    if is_16_bit_gray(image):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    image.info.pop("transparency", None)  # Pillow only warns that it is dropped
    return image.convert("RGB")


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an open image: from 2 to 8 if it is to be shown turned or mirrored, else 1."""
    try:
        code = image.getexif().get(ExifTags.Base.Orientation, 1)
    except CORRUPT:  # damaged EXIF data say nothing
        return 1
    return int(code) if code in _UPRIGHT else 1


def shown_size(size: Size, code: int) -> Size:
    """Return the (height, width) that an image of `size` has once its EXIF orientation is applied."""
    return (size[1], size[0]) if code >= 5 else size


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Convert errors of Pillow and the file system in the body to a `UsageError` that names the file."""
    try:
        yield
    except CORRUPT as error:
        raise UsageError(f"{path}: not a readable image ({what_failed(error)}); repair or remove it") from error


def what_failed(error: Exception) -> str:
    """Return what Pillow says about a damaged image, without the name of the file."""
    if isinstance(error, UnidentifiedImageError):  # Pillow adds a name, or an address in memory
        return "cannot identify image file"
    return " ".join(str(error).split()) or type(error).__name__


def size_text(size: Sequence[int]) -> str:
    """Return (height, width) as text in the usual order, width×height."""
    return f"{size[1]}×{size[0]}"
