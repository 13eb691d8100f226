"""The blur of a motion along a line, for images and for falling snow."""

from __future__ import annotations

import math

import numpy as np

from stein_bench.corruptions.pixels import Floats


def moved(image: Floats, radius: float, deviation: float, angle: float) -> Floats:
    """Return a (height, width, …) image blurred along a line, to one side, as ImageMagick's motion blur does.

    The pixel in whole steps of i = 0 … 2·radius along the line has weight exp(−i²/(2·deviation²)), normalized; the
    place is rounded to pixels, and outside the image the border pixel is repeated. The published code calls
    ImageMagick (`MotionBlurImage` of its effect.c, whose kernel this is).

    Args:
        image: (height, width, …).
        radius, deviation: in pixels.
        angle: in degrees, clockwise from the positive horizontal axis, as rows count downwards.
    """
    weights = np.exp(-(np.arange(2 * math.ceil(radius) + 1) ** 2) / (2 * deviation**2))
    weights /= weights.sum()
    steps = [_step(i, angle) for i in range(len(weights))]
    margin = max(max(abs(down), abs(right)) for down, right in steps)
    height, width = image.shape[:2]
    wide = np.pad(image, ((margin, margin), (margin, margin), *((0, 0),) * (image.ndim - 2)), mode="edge")
    total = np.zeros_like(image)
    for weight, (down, right) in zip(weights, steps, strict=True):
        top, left = margin + down, margin + right
        total += weight * wide[top : top + height, left : left + width]
    return total


def _step(i: int, angle: float) -> tuple[int, int]:
    """Return by how many rows and columns step `i` leads away: halves are rounded down."""
    radians = math.radians(angle)
    return math.ceil(i * math.sin(radians) - 0.5), math.ceil(i * math.cos(radians) - 0.5)
