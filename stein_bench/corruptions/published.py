"""The published strengths of the common corruptions, one table for each size of image.

Source: the code that made the published data sets, https://github.com/hendrycks/robustness, ImageNet-C/create_c:
`make_cifar_c.py` for the 32×32 images of CIFAR-10-C and CIFAR-100-C, `make_imagenet_c.py` for the 224×224 images of
ImageNet-C. The five entries of a row are the severities 1 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Numbers = tuple[float, ...]
Rows = Mapping[str, tuple[Numbers, Numbers, Numbers, Numbers, Numbers]]
ParameterSet = Literal["cifar", "imagenet"]

SMALL = 64
"""Images whose shorter side has fewer pixels get the strengths of 32×32 images."""

CIFAR: Rows = {
    # standard deviation
    "gaussian_noise": ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
    # photons at the brightest value
    "shot_noise": ((500,), (250,), (100,), (75,), (50,)),
    # share of the values that are replaced
    "impulse_noise": ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
    # radius of the disk, standard deviation of the blur of its edge
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    # standard deviation of both blurs, largest move, rounds of moves
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    # radius, standard deviation
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    # first factor that is no longer used, step between factors
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    # mean and standard deviation of the flakes, their zoom, least brightness that stays,
    # radius and standard deviation of their motion, weight of the image before it is whitened
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    # weight of the image, weight of the frost
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    # strength, factor by which the roughness falls with the scale
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    # added to the value (of hue, saturation and value)
    "brightness": ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
    # factor of the deviations from the mean
    "contrast": ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
    # in units of the side: size of the displacements, standard deviation of their blur, size of the affine moves
    "elastic_transform": ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    # share of the side that is left
    "pixelate": ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
    # quality
    "jpeg_compression": ((80,), (65,), (58,), (50,), (40,)),
    # standard deviation relative to the value
    "speckle_noise": ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
    # standard deviation
    "gaussian_blur": ((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
    # mean and standard deviation of the liquid, its blur, least thickness that stays,
    # strength of water or blur of mud, mud (1) or water (0)
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    # factor of the saturation, added to it
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}
"""Strengths for 32×32 images."""

OVER = 244 / 224
"""The published code writes 244 for the side of 224 pixels in the elastic transformation, and says so."""

IMAGENET: Rows = {
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot_noise": ((60,), (25,), (12,), (5,), (3,)),
    "impulse_noise": ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "contrast": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "elastic_transform": (
        (2 * OVER, 0.7 * OVER, 0.1 * OVER),
        (2 * OVER, 0.08 * OVER, 0.2 * OVER),
        (0.05 * OVER, 0.01 * OVER, 0.02 * OVER),
        (0.07 * OVER, 0.01 * OVER, 0.02 * OVER),
        (0.12 * OVER, 0.01 * OVER, 0.02 * OVER),
    ),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
    "speckle_noise": ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
    "gaussian_blur": ((1,), (2,), (3,), (4,), (6,)),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
"""Strengths for 224×224 images; what the numbers mean is said in `CIFAR`."""

SETS: Mapping[ParameterSet, Rows] = {"cifar": CIFAR, "imagenet": IMAGENET}


def parameters(side: int) -> ParameterSet:
    """Return which of the published sets belongs to images whose shorter side has `side` pixels.

    The two sets were chosen for 32 and for 224 pixels. Below `SMALL` = 64 pixels it is that of 32, from 64 on that of
    224. Within a set lengths in pixels are as published, whatever the size, save those of the elastic transformation,
    which the published code writes in units of the side.
    """
    return "cifar" if side < SMALL else "imagenet"


def strengths(name: str, severity: int, side: int) -> Numbers:
    """Return the published numbers of that corruption at a severity of 1 to 5 for a shorter side of `side` pixels."""
    return SETS[parameters(side)][name][severity - 1]
