"""Snow, frost, fog, brightness, and what spatters against a lens."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from stein_bench.corruptions.frost_texture import frosted_glass
from stein_bench.corruptions.liquid import thickness_of_water
from stein_bench.corruptions.motion import moved
from stein_bench.corruptions.pixels import Bytes, Floats, blurred, cut, gray, tint, unit
from stein_bench.corruptions.published import Numbers, parameters
from stein_bench.corruptions.resampling import zoomed

LESS_MUD = 0.8
"""Thinner mud is not there."""


def snow(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Whiten the image and add flakes, enlarged dots of noise that fall, and the same flakes turned by 180°.

    Flakes are kept as 8-bit values before and after they are moved, as in the published code.
    """
    mean, deviation, zoom, least, radius, length, weight = strength
    flakes = zoomed(draws.normal(mean, deviation, image.shape[:2]), zoom)
    flakes = np.floor(255 * np.clip(np.where(flakes < least, 0, flakes), 0, 1))
    flakes = np.rint(moved(flakes, radius, length, draws.uniform(-135, -45)))[:, :, None] / 255
    values = unit(image)
    white = np.maximum(values, gray(values)[:, :, None] * 1.5 + 0.5)
    return 255 * (weight * values + (1 - weight) * white + flakes + np.rot90(flakes, 2))


def frost(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Add frost at the published weights, but from a texture of our own.

    The published frost is a piece of one of five photographs, which are not part of this project. Ours is drawn for
    every sample (`frost_texture`), about as bright and as rough as those. Numbers under this corruption are therefore
    **not comparable** with published ones under frost, nor is a mean over all 15 corruptions in the last digits.
    """
    kept, added = strength
    height, width, channels = image.shape
    # The published code shrinks the photographs to a fifth for images of 32×32.
    scale = 0.2 if parameters(min(height, width)) == "cifar" else 1.0
    texture = frosted_glass(height, width, scale, draws)
    return np.asarray(kept * image + added * 255 * (texture if channels == 3 else gray(texture)[:, :, None]))


def fog(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Add a plasma fractal and scale the sum back to the brightest value of the image."""
    amount, decay = strength
    values = unit(image)
    height, width = image.shape[:2]
    brightest = values.max()
    plasma = plasma_fractal(max(height, width), decay, draws)[:height, :width, None]
    return np.asarray(255 * (values + amount * plasma) * brightest / (brightest + amount))


def plasma_fractal(side: int, decay: float, draws: Generator) -> Floats:
    """Return a square of heights in [0, 1] by the diamond-square algorithm on a torus.

    Each round halves the distance between known points: the middle of every square of four is their mean plus a
    uniform number, then the middle of every diamond. The numbers' range falls by `decay`² in every round: the
    published code draws them in ±w and multiplies them by w, where w starts at 100 and falls by `decay`.

    Args:
        side: least side; the next power of two is used.
        decay: as above; the higher the smoother.
        draws: where the numbers come from.
    """
    size = 1 << (side - 1).bit_length()
    heights = np.zeros((size, size))
    step, range_ = size, 100.0
    while step >= 2:
        corners = heights[::step, ::step]
        below = corners + np.roll(corners, -1, 0)
        middles = (below + np.roll(below, -1, 1)) / 4 + range_ * draws.uniform(-range_, range_, corners.shape)
        heights[step // 2 :: step, step // 2 :: step] = middles
        for axis in (0, 1):
            around = middles + np.roll(middles, 1, axis) + corners + np.roll(corners, -1, 1 - axis)
            edges = around / 4 + range_ * draws.uniform(-range_, range_, corners.shape)
            heights[axis * step // 2 :: step, (1 - axis) * step // 2 :: step] = edges
        step, range_ = step // 2, range_ / decay
    heights -= heights.min()
    return np.asarray(heights / heights.max())


def brightness(image: Bytes, strength: Numbers, _draws: Generator) -> Floats:
    """Raise the value, the largest channel, at the same hue and saturation."""
    (added,) = strength
    values = unit(image)
    value = values.max(axis=2, keepdims=True)
    raised = np.minimum(value + added, 1)
    # Without color, as in black, all channels are equal.
    return np.asarray(255 * np.where(value > 0, values / np.where(value > 0, value, 1) * raised, raised))


def spatter(image: Bytes, strength: Numbers, draws: Generator) -> Floats:
    """Spatter pale turquoise water on the image, at high severities opaque brown mud."""
    mean, deviation, smoothness, least, amount, muddy = strength
    values, channels = unit(image), image.shape[2]
    liquid = blurred(draws.normal(mean, deviation, image.shape[:2]), smoothness)
    if muddy:
        mud = blurred((liquid > least).astype(np.float64), amount)[:, :, None]
        mud = np.where(mud < LESS_MUD, 0, mud)
        return 255 * values * (1 - mud) + tint(63, 42, 20, channels) * mud
    water = thickness_of_water(cut(np.clip(255 * np.where(liquid < least, 0, liquid), 0, 255)))
    return 255 * values + tint(175, 238, 238, channels) * amount * water[:, :, None]
