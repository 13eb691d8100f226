"""Samples stored as image files, read with Pillow on demand."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stein_bench.data.arrays import channels_first
from stein_bench.data.resize import Resize, Stretch, resize_image
from stein_bench.errors import UsageError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Suffixes of image files, in lower case: torchvision's list."""

# Pillow's decoders raise all of these on damaged files.
_CORRUPT = (
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


@dataclass(frozen=True, eq=False)
class FileStore:
    """A `Store` of image files: `paths` relative to `root`, in data order.

    Without a `resize` all files must be of `size` (height, width). EXIF orientation is ignored, as in torchvision;
    alpha is dropped; gray and palette images become RGB.
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

    def _pixels(self, path: Path) -> np.ndarray:
        with readable(path), Image.open(path) as image:
            _check_depth(path, image)
            rgb = image.convert("RGB")
            if self.resize:
                rgb = self.resize.apply(rgb) if isinstance(self.resize, Stretch) else resize_image(rgb, self.resize)
            pixels = np.asarray(rgb)
        if pixels.shape[:2] != self.shape[1:]:
            raise UsageError(f"{path}: {size_text(pixels.shape[:2])} pixels, not {size_text(self.shape[1:])}")
        return pixels


def image_paths(folder: Path) -> Iterator[str]:
    """Yield the paths of the images below `folder`, without hidden files and folders, in no particular order."""
    for parent, folders, names in os.walk(folder, onerror=_refuse_unlisted, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield os.path.join(parent, name)


def _refuse_unlisted(error: OSError) -> None:
    # Continuing would silently omit a folder's images.
    raise UsageError(f"{error.filename}: cannot be listed ({error.strerror or error})") from error


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) from the header of an image file; UsageError if it is not an image."""
    with readable(path), Image.open(path) as image:
        return image.height, image.width


def _check_depth(path: Path, image: Image.Image) -> None:
    # Pillow would silently clip 16-bit and float pixels at 255 instead of scaling them, giving a white image.
    if image.mode.startswith(("I", "F")):
        raise UsageError(f"{path}: more than 8 bits per channel (mode {image.mode}); convert it to 8 bits")


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Convert errors of Pillow and the file system in the body to a `UsageError` that names the file."""
    try:
        yield
    except _CORRUPT as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: not a readable image ({reason}); repair or remove it") from error


def size_text(size: Sequence[int]) -> str:
    """Return (height, width) as text in the usual order, width×height."""
    return f"{size[1]}×{size[0]}"
