"""Blurs: out of focus, frosted glass, motion, zoom, and the plain Gaussian one."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from stein_bench.corruptions.motion import moved
from stein_bench.corruptions.pixels import Bytes, Floats, blurred, correlated, cut, unit
from stein_bench.corruptions.published import Numbers
from stein_bench.corruptions.resampling import zoomed

Indices = NDArray[np.intp]


def gaussian_blur(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Blur with a Gaussian, cut at four standard deviations; border pixels are repeated."""
    (deviation,) = strength
    return 255 * blurred(unit(image), deviation)


def defocus_blur(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Average over a disk of a radius whose edge is softened; the image is mirrored at its borders."""
    return 255 * correlated(unit(image), disk(*strength))


def disk(radius: float, softness: float) -> Floats:
    """Return the kernel: the pixels within a disk, blurred by a Gaussian of 3×3 pixels, 5×5 for radii above 8.

    As published, the kernel is mirrored at its own border when it is blurred. Disks that reach it (radius 8 and 10,
    severities 4 and 5 of large images) get a sum 1 % above 1, which brightens the image by as much.
    """
    reach, half = (8, 1) if radius <= 8 else (int(radius), 2)
    places = np.arange(-reach, reach + 1)
    inside = (places[:, None] ** 2 + places**2 <= radius**2).astype(np.float64)
    gaussian = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * softness**2))
    kernel = inside / inside.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, gaussian / gaussian.sum(), axis, mode="mirror")
    return np.asarray(kernel)


def motion_blur(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Blur along a line within 45° of the horizontal; values are rounded, as by ImageMagick in the published code."""
    radius, deviation = strength
    return np.rint(moved(image.astype(np.float64), radius, deviation, draws.uniform(-45, 45)))


def zoom_blur(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Average the image with ever larger enlargements of its middle."""
    end, step = strength
    values = unit(image)
    factors = np.arange(1, end, step)
    total = values.copy()
    for factor in factors:
        total += zoomed(values, float(factor))
    return 255 * total / (len(factors) + 1)


def glass_blur(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Blur, let pixels change places with near ones, and blur again.

    From the lower right corner to the upper left one every pixel takes the value that a pixel at most `reach` away
    has by then. The published code means to exchange the two values, but both names stand for the same memory:
    the other pixel keeps its own value. The published images were made so, and so are these.
    """
    deviation, reach, rounds = strength[0], int(strength[1]), int(strength[2])
    softened = cut(255 * blurred(unit(image), deviation))
    height, width, channels = image.shape
    moves = draws.integers(-reach, reach, (rounds, height - 2 * reach, width - 2 * reach, 2))
    flat = softened.reshape(-1, channels)
    for one in moves:
        flat = flat[_origins(one, height, width, reach)]
    return 255 * blurred(flat.reshape(image.shape) / 255.0, deviation)


def _origins(moves: Indices, height: int, width: int, reach: int) -> Indices:
    """Return for every pixel the one whose value it has in the end, both counted row by row.

    Of the pixels that it takes a value from, those that come earlier in the order have been replaced themselves: the
    chains that this makes are followed in steps of doubled length, instead of pixel by pixel.

    Args:
        moves: (rows, columns, 2) steps to the right and downwards, in the order in which pixels are visited.
        height, width: of the image, of which a margin is not visited.
        reach: width of that margin, at the lower and right border one pixel less.
    """
    count = height * width
    pixels = np.arange(count).reshape(height, width)
    # Nodes below `count` are final values, `count` + pixel is the value before this round.
    leads = pixels + count
    visited = pixels[height - reach : reach : -1, width - reach : reach : -1]
    other = visited + moves[..., 1] * width + moves[..., 0]
    row, column = np.divmod(other, width)
    within = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    leads[height - reach : reach : -1, width - reach : reach : -1] = np.where(
        within & (other > visited), other, other + count
    )
    follow = np.concatenate([leads.ravel(), np.arange(count, 2 * count)])
    while (follow[:count] < count).any():
        follow = follow[follow]
    return np.asarray(follow[:count] - count)
