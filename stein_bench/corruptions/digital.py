"""Contrast, elastic transformation, pixelation, JPEG compression and saturation."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy import ndimage

from stein_bench.corruptions.pixels import Bytes, Floats, unit
from stein_bench.corruptions.published import Numbers
from stein_bench.corruptions.resampling import sampled


def contrast(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Shrink the deviations from the mean of each channel."""
    (factor,) = strength
    means = image.mean(axis=(0, 1), keepdims=True)
    return np.asarray((image - means) * factor + means)


def saturate(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Change the saturation at the same hue and value.

    As in the published code a gray pixel has the hue of red, and becomes red where saturation is added. An image of
    one channel has no saturation and stays as it is.
    """
    factor, added = strength
    values = unit(image)
    if image.shape[2] == 1:
        return 255 * values
    value, least = values.max(axis=2, keepdims=True), values.min(axis=2, keepdims=True)
    span, colored = value - least, value > least
    saturation = np.clip(span / np.where(value > 0, value, 1) * factor + added, 0, 1)
    missing = np.where(colored, (value - values) / np.where(colored, span, 1), np.array([0.0, 1.0, 1.0]))
    return np.asarray(255 * value * (1 - saturation * missing))


def pixelate(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Shrink the image by the means over boxes and enlarge it again in the same way."""
    (share,) = strength
    height, width = image.shape[:2]
    small = _pillow(image).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return _array(small.resize((width, height), Image.Resampling.BOX), image)


def jpeg_compression(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Store as JPEG of a quality, with Pillow's defaults (color at half the resolution); gray images as gray ones."""
    (quality,) = strength
    file = BytesIO()
    _pillow(image).save(file, "JPEG", quality=int(quality))
    with Image.open(file) as stored:
        return _array(stored, image)


def _pillow(image: Bytes) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image if image.shape[2] == 3 else image[:, :, 0]))


def _array(image: Image.Image, like: Bytes) -> Floats:
    return np.asarray(image, dtype=np.float64).reshape(like.shape)


def elastic_transform(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Move three points of the image at random, the rest with them, and then every pixel along a smooth random field.

    The published numbers are in units of the side, the shorter one of an image that is no square. The image is
    interpolated linearly twice; it is mirrored at its borders the first time without, the second time with repeating
    the border pixel.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    size, smoothness, move = (side * number for number in strength)
    values = sampled(unit(image), *_affine(height, width, move, draws), repeat_border=False)
    # Steps to the right are drawn before those downwards.
    right, down = (_field(height, width, smoothness, draws) * size for _ in range(2))
    rows, columns = np.arange(height)[:, None] + down, np.arange(width) + right
    return 255 * sampled(values, rows, columns, repeat_border=True)


def _affine(height: int, width: int, move: float, draws: Generator) -> tuple[Floats, Floats]:
    """Return the rows and columns at which each pixel of the moved image is found in the image.

    The map takes three corners of a square in the middle, a third of the side away from its center, to places that are
    up to `move` pixels away in either direction.
    """
    third, center = min(height, width) // 3, np.array([width // 2, height // 2])
    before = center + third * np.array([[1, 1], [1, -1], [-1, -1]])
    after = before + draws.uniform(-move, move, (3, 2))
    # Rows of the solution: from (x, y, 1) in the moved image to (x, y) in the image.
    back = np.linalg.lstsq(np.c_[after, np.ones(3)], before, rcond=None)[0]
    down, right = np.arange(height)[:, None], np.arange(width)
    columns, rows = (right * back[0, k] + down * back[1, k] + back[2, k] for k in (0, 1))
    return rows, columns


def _field(height: int, width: int, smoothness: float, draws: Generator) -> Floats:
    """Return (height, width) uniform numbers in ±1 after a Gaussian blur, cut at three standard deviations.

    The blur is a product with one matrix for each side, as it reaches over several times the image.
    """
    field = draws.uniform(-1, 1, (height, width))
    return np.asarray(_blur_matrix(height, smoothness) @ field @ _blur_matrix(width, smoothness).T)


@lru_cache(maxsize=4)
def _blur_matrix(side: int, smoothness: float) -> Floats:
    """Return the (side, side) matrix that blurs a line which is mirrored at its ends, the last pixel repeated."""
    blurs = ndimage.gaussian_filter(np.eye(side), smoothness, mode="reflect", truncate=3.0, axes=(0,))
    blurs.flags.writeable = False  # all images of a size share it
    return np.asarray(blurs)
