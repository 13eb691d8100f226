"""Images read between their pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stein_bench.corruptions.pixels import Floats

Indices = NDArray[np.intp]


def zoomed(image: Floats, factor: float) -> Floats:
    """Return the middle of a (height, width, …) image, enlarged by a `factor` ≥ 1 to the size of the whole.

    The middle ⌈side/factor⌉ pixels are interpolated linearly, so that the outermost ones stay so, and the result is
    trimmed to the image's side: each side by itself, where the published code knows squares only.
    """
    return _stretched(_stretched(image, factor, 0), factor, 1)


def _stretched(image: Floats, factor: float, axis: int) -> Floats:
    side = image.shape[axis]
    kept = math.ceil(side / factor)
    start, size = (side - kept) // 2, round(kept * factor)
    scale = (kept - 1) / (size - 1) if size > 1 else 0.0
    places = np.minimum(((size - side) // 2 + np.arange(side)) * scale, kept - 1)
    low = places.astype(np.intp)
    weight = (places - low).reshape((-1,) + (1,) * (image.ndim - 1 - axis))
    high = np.minimum(low + 1, kept - 1)
    return np.asarray(
        image.take(start + low, axis) * (1 - weight) + image.take(start + high, axis) * weight, dtype=image.dtype
    )


def sampled(image: Floats, rows: Floats, columns: Floats, *, repeat_border: bool) -> Floats:
    """Return the values of a (height, width, channels) image at (height, width) places, interpolated linearly.

    Outside, the image is continued by reflection, in which the border pixels occur twice (`repeat_border`) or once.
    """
    top, left = np.floor(rows), np.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    height, width, channels = image.shape
    flat = image.reshape(-1, channels)
    lines = [_reflected(top + k, height, repeat_border) * width for k in (0, 1)]
    places = [_reflected(left + k, width, repeat_border) for k in (0, 1)]
    upper, lower = (flat[line + places[0]] * (1 - right) + flat[line + places[1]] * right for line in lines)
    return np.asarray(upper * (1 - down) + lower * down)


def _reflected(places: Floats, side: int, repeat_border: bool) -> Indices:
    period = 2 * side if repeat_border else max(2 * side - 2, 1)
    within = places.astype(np.intp) % period
    last = period - 1 if repeat_border else period
    return np.minimum(within, last - within)
