"""A texture of ice on a window, drawn anew for every sample.

No photograph is copied: grains of random direction, each a fern of ice with a stem and side branches, over slow
changes of brightness. Mean brightness and contrast are drawn from about the range of the photographs that the
published corruption uses (mean gray values of 120 to 210, standard deviations of 15 to 45).
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy.spatial import cKDTree

from stein_bench.corruptions.pixels import Floats
from stein_bench.corruptions.resampling import sampled

GRAIN, WARP, CLOUD = 45.0, 12.0, 90.0
"""Distance between grains, of the bends of their borders, and of clouds, in pixels of the large texture."""
BRANCHES = ((16.0, 0.3), (6.0, 0.6))
"""Distance of the branches from each other, and by how much they lean away from the stem."""
LEVELS, CONTRASTS = (0.5, 0.75), (0.09, 0.18)
"""Ranges of the mean and of the standard deviation."""
COLD = np.array([0.95, 1.0, 1.05])
"""Tint of ice: a little blue."""


def frosted_glass(height: int, width: int, scale: float, draws: Generator) -> Floats:
    """Return a (height, width, 3) texture of values in [0, 1].

    Args:
        height, width: its size.
        scale: size of the crystals, 1 for images of 224×224.
        draws: where everything random comes from.
    """
    level, contrast = draws.uniform(*LEVELS), draws.uniform(*CONTRASTS)
    ice = _ferns(height, width, scale, draws) + 0.8 * _cloud(height, width, CLOUD * scale, draws)
    ice += 0.3 * draws.random((height, width))
    ice = level + contrast * (ice - ice.mean()) / max(float(ice.std()), 1e-6)
    return np.asarray(np.clip(ice[:, :, None] * COLD, 0, 1))


def _ferns(height: int, width: int, scale: float, draws: Generator) -> Floats:
    """Return (height, width) brightness of ferns of ice, one in each grain."""
    rows, columns = np.broadcast_arrays(np.arange(height)[:, None], np.arange(width))
    bent = [places + WARP / 2 * scale * _cloud(height, width, WARP * scale, draws) for places in (rows, columns)]
    grain = GRAIN * scale
    size = np.array([height + 2 * grain, width + 2 * grain])
    centers = draws.random((int(np.ceil(size.prod() / grain**2)), 2)) * size - grain
    turns = draws.uniform(0, 2 * np.pi, len(centers))
    _, nearest = cKDTree(centers).query(np.stack(bent, axis=-1))
    down, right = rows - centers[nearest, 0], columns - centers[nearest, 1]
    sine, cosine = np.sin(turns)[nearest], np.cos(turns)[nearest]
    along, aside = cosine * right + sine * down, np.abs(cosine * down - sine * right)
    bright = 1.2 * np.exp(-aside / (1.5 * scale)) + draws.uniform(-0.4, 0.4, len(centers))[nearest]
    for spacing, lean in BRANCHES:
        places = (along - lean * aside) / (spacing * scale) + 37.0 * nearest
        bright += 0.7 * _ridges(places, draws)
    return np.asarray(bright)


def _ridges(places: Floats, draws: Generator) -> Floats:
    """Return values in [0, 1] with sharp ridges at random places on a line."""
    heights = draws.random(512)
    below = np.floor(places)
    part, index = places - below, below.astype(np.intp)
    height = heights[index % 512] * (1 - part) + heights[(index + 1) % 512] * part
    return np.asarray((1 - np.abs(2 * height - 1)) ** 4)


def _cloud(height: int, width: int, spacing: float, draws: Generator) -> Floats:
    """Return smooth (height, width) noise in [−1, 1] that changes over a `spacing` in pixels."""
    knots = draws.uniform(-1, 1, (int(height / spacing) + 2, int(width / spacing) + 2, 1))
    rows, columns = np.broadcast_arrays(np.arange(height)[:, None] / spacing, np.arange(width) / spacing)
    return sampled(knots, _eased(rows), _eased(columns), repeat_border=True)[:, :, 0]


def _eased(places: Floats) -> Floats:
    """Return the places with their fractions slowed down at both ends, so that no creases are seen."""
    whole = np.floor(places)
    part = places - whole
    return np.asarray(whole + part * part * (3 - 2 * part))
