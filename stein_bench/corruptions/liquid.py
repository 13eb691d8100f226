"""Drops of water: edges of the liquid, distances from them, and light that falls on it from a side.

The published code composes functions of OpenCV: Canny's edges, the distance transform, the equalized histogram and
filters of 8-bit images. These are the same steps on one image, with OpenCV's rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stein_bench.corruptions.pixels import Bytes, Floats, cut

WEAK, STRONG = 50, 150
"""Least strength of the gradient along an edge, and at one point of it."""
FARTHEST = 20
"""Distances from the edges are cut here, in pixels."""
RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
"""The filter that lights the drops from one side."""
STEPS = tuple(round(length * 2**16) / 2**16 for length in (1.0, 1.4, 2.1969))
"""Lengths of a step to the side, of a diagonal one, and of a knight's move: OpenCV's distance in masks of 5×5, with its
16 binary places."""
TANGENT = np.tan(np.pi / 8)
"""Gradients within 22.5° of an axis are compared along it."""

Mask = NDArray[np.bool_]


def thickness_of_water(liquid: Bytes) -> Floats:
    """Return (height, width) values, 1 where the `liquid` of 8-bit thickness lets most light through, 0 without it."""
    depth = np.minimum(distances(edges(liquid)), FARTHEST)
    depth = equalized(cut(_mean(depth)))
    depth = np.clip(ndimage.correlate(depth.astype(np.int64), RELIEF, mode="mirror"), 0, 255)
    water = liquid * np.rint(_mean(depth.astype(np.float64)))
    return np.asarray(water / max(water.max(), 1.0))


def _mean(values: Floats) -> Floats:
    """Return the means over 3×3 pixels, mirrored at the borders."""
    return np.asarray(ndimage.correlate(values, np.ones((3, 3)), mode="mirror") / 9)


def edges(image: Bytes) -> Mask:
    """Return the edges that Canny's method finds in a (height, width) image.

    Gradients of 3×3 Sobel filters, their strength as the sum of absolute values; kept where the strength is above
    `WEAK` and the largest across the edge; edges count that reach `STRONG` at some point. Source: J. Canny, "A
    Computational Approach to Edge Detection", PAMI 8, 1986, with the choices of OpenCV.
    """
    values = image.astype(np.int64)
    right = ndimage.sobel(values, axis=1, mode="nearest")
    down = ndimage.sobel(values, axis=0, mode="nearest")
    strength = np.abs(right) + np.abs(down)
    kept = (strength > WEAK) & _crests(strength, right, down)
    parts, _ = ndimage.label(kept, np.ones((3, 3)))
    strong = np.unique(parts[kept & (strength > STRONG)])
    return np.asarray(kept & np.isin(parts, strong))


def _crests(strength: NDArray[np.int64], right: NDArray[np.int64], down: NDArray[np.int64]) -> Mask:
    """Return where the strength is the largest among the three pixels across the edge."""
    wide = np.pad(strength, 1)
    height, width = strength.shape

    def beside(rows: int, columns: int) -> NDArray[np.int64]:
        return wide[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    flat, steep = np.abs(down) < TANGENT * np.abs(right), np.abs(down) > (TANGENT + 2) * np.abs(right)
    along = (strength > beside(0, -1)) & (strength >= beside(0, 1))
    across = (strength > beside(-1, 0)) & (strength >= beside(1, 0))
    falling = (strength > beside(-1, -1)) & (strength > beside(1, 1))
    rising = (strength > beside(-1, 1)) & (strength > beside(1, -1))
    diagonal = np.where((right ^ down) < 0, rising, falling)
    return np.where(flat, along, np.where(steep, across, diagonal))


def distances(edge: Mask) -> Floats:
    """Return each pixel's distance from the nearest edge in steps of the lengths `STEPS`; large without any edge.

    One pass downwards and one upwards (G. Borgefors, "Distance Transformations in Digital Images", 1986).
    """
    found = np.where(edge, 0.0, 4.0 * sum(edge.shape))
    _pass(found)
    _pass(found[::-1, ::-1])
    return found


def _pass(found: Floats) -> None:
    """Lower the distances to what the two rows above and the pixels to the left allow, row by row, in place."""
    side, diagonal, knight = STEPS
    height, width = found.shape
    far = np.inf
    wide = np.full((height + 2, width + 4), far)
    ramp = side * np.arange(width)
    for row in range(height):
        last, before = wide[row + 1], wide[row]
        nearest = np.minimum(found[row], last[2:-2] + side)
        np.minimum(nearest, np.minimum(last[1:-3], last[3:-1]) + diagonal, out=nearest)
        np.minimum(nearest, np.minimum(last[:-4], last[4:]) + knight, out=nearest)
        np.minimum(nearest, np.minimum(before[1:-3], before[3:-1]) + knight, out=nearest)
        nearest = np.minimum.accumulate(nearest - ramp) + ramp
        found[row] = wide[row + 2, 2:-2] = nearest


def equalized(image: Bytes) -> Bytes:
    """Return the image with its histogram spread evenly over 0 to 255; an image of one value stays as it is."""
    counts = np.bincount(image.ravel(), minlength=256)
    first = int(counts.nonzero()[0][0])
    rest = image.size - counts[first]
    if not rest:
        return image
    counts[: first + 1] = 0
    return cut(np.rint(counts.cumsum() * (255 / rest)))[image]
