"""Resizing and center cropping, of stored arrays (torch) and of image files (Pillow)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stein_bench.errors import UsageError, unknown_name

_PILLOW_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Resize:
    """Resize the shorter side to ``round(size / crop_pct)``, then crop the central `size` × `size` pixels.

    `crop_pct` is in (0, 1], `interpolation` one of ``bilinear``, ``bicubic`` and ``nearest``, the first two
    antialiased. Raises UsageError for other values.
    """

    size: int
    crop_pct: float = 1.0
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"image size must be at least 1 pixel, not {self.size}")
        if not (math.isfinite(self.crop_pct) and 0 < self.crop_pct <= 1):
            raise UsageError(f"crop_pct must be above 0 and at most 1, not {self.crop_pct}")
        if self.interpolation not in _PILLOW_FILTERS:
            raise unknown_name("interpolation", self.interpolation, _PILLOW_FILTERS)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the result."""
        return (self.size, self.size)

    @property
    def resized(self) -> int:
        """The side, in pixels, that images are resized to."""
        return round(self.size / self.crop_pct)

    def offset(self, length: int) -> int:
        """Return the first pixel of the crop along a side of `length` pixels."""
        return round((length - self.size) / 2)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) that an image of `height` × `width` has before the crop."""
        short = self.resized
        long = int(short * max(height, width) / min(height, width))  # truncated, as in torchvision
        return (short, long) if height <= width else (long, short)


@dataclass(frozen=True)
class FlooredCrop(Resize):
    """The same with the crop's offset rounded down, as in transformers, not to the nearest, as in torchvision."""

    def offset(self, length: int) -> int:
        """Return the first pixel of the crop along a side of `length` pixels."""
        return (length - self.size) // 2


@dataclass(frozen=True)
class StretchedSquare(FlooredCrop):
    """Resize to a square of side ``round(size / crop_pct)`` regardless of the aspect ratio, then crop its center."""

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of the square, whatever the image's."""
        del height, width
        return (self.resized, self.resized)


@dataclass(frozen=True)
class TimmResize(Resize):
    """The same with the side rounded down, ``floor(size / crop_pct)``, as in timm (data/transforms_factory.py)."""

    @property
    def resized(self) -> int:
        """The side, in pixels, that images are resized to."""
        return math.floor(self.size / self.crop_pct)


@dataclass(frozen=True)
class TimmSquash(TimmResize):
    """Resize to a square of that side regardless of the aspect ratio, timm's crop mode ``squash``."""

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of the square, whatever the image's."""
        del height, width
        return (self.resized, self.resized)


RESIZINGS: dict[str, type[Resize]] = {
    "usual": Resize,
    "floored-crop": FlooredCrop,
    "stretched": StretchedSquare,
    "timm": TimmResize,
    "timm-squash": TimmSquash,
}
"""By the name that a model's pretrained configuration gives."""


@dataclass(frozen=True)
class Stretch:
    """Resize to `height` × `width` pixels regardless of the aspect ratio; for images of one aspect ratio."""

    height: int
    width: int

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the result."""
        return (self.height, self.width)

    def apply(self, image: Image.Image, interpolation: str = "bilinear") -> Image.Image:
        """Return the Pillow `image` in that size: ``bilinear`` (antialiased), or ``nearest`` for label maps."""
        if (image.height, image.width) == self.sides:
            return image
        return image.resize((self.width, self.height), _PILLOW_FILTERS[interpolation])


def resize_tensor(images: Tensor, resize: Resize) -> Tensor:
    """Return float `images` (b, C, H, W), resized and cropped to (b, C, size, size); both are in [0, 1]."""
    height, width = resize.scaled(images.shape[-2], images.shape[-1])
    if (height, width) != tuple(images.shape[-2:]):
        if resize.interpolation == "nearest":
            images = F.interpolate(images, (height, width), mode="nearest-exact")
        else:
            images = F.interpolate(
                images, (height, width), mode=resize.interpolation, align_corners=False, antialias=True
            )
    top, left = resize.offset(height), resize.offset(width)
    cropped = images[..., top : top + resize.size, left : left + resize.size]
    return cropped.clamp(0, 1)  # some bicubic weights are negative, so edges overshoot


def resize_image(image: Image.Image, resize: Resize) -> Image.Image:
    """Return the Pillow `image` resized and cropped, in 8 bits, as in the usual ImageNet evaluation."""
    height, width = resize.scaled(image.height, image.width)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), _PILLOW_FILTERS[resize.interpolation])
    top, left = resize.offset(height), resize.offset(width)
    return image.crop((left, top, left + resize.size, top + resize.size))
