"""Gaussian, shot, impulse and speckle noise, drawn for every value of every channel by itself."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from stein_bench.corruptions.pixels import Bytes, Floats, unit
from stein_bench.corruptions.published import Numbers


def gaussian_noise(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Add normal noise of a standard deviation."""
    (deviation,) = strength
    return 255 * (unit(image) + draws.normal(scale=deviation, size=image.shape))


def shot_noise(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Replace every value by a Poisson count around it, in units of one over the count at the brightest value."""
    (photons,) = strength
    return 255 * (draws.poisson(unit(image) * photons) / photons)


def impulse_noise(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Replace a share of the values by 0 or 255 with equal probability ("salt and pepper")."""
    (share,) = strength
    replaced = draws.random(image.shape) <= share
    salt = draws.random(image.shape) <= 0.5
    return np.where(replaced, np.where(salt, 255.0, 0.0), image)


def speckle_noise(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Add normal noise of a standard deviation that is proportional to the value."""
    (deviation,) = strength
    values = unit(image)
    return 255 * (values + values * draws.normal(scale=deviation, size=image.shape))
