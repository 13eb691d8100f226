"""The corruptions against imagecorruptions-imaug, an independent implementation of the published code.

Both get the same draws. What is random is therefore compared pixel by pixel too, not by its moments.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stein_bench.corruptions.common import CORRUPTIONS, _stored
from stein_bench.corruptions.published import Numbers
from tests.corruptions.reference import GOLDEN, NAMES, SEED, SETS

EQUAL = (
    "gaussian_noise", "shot_noise", "impulse_noise", "fog", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression", "speckle_noise",
)  # fmt: skip
"""Equal in every value; the others are one gray level away in some, as fractions are cut off."""

ROUNDED = ("motion_blur",)
"""Rounded, as by ImageMagick in the published code, where the package cuts fractions off: half of the values differ."""


def own(name: str, strength: Numbers, image: NDArray[np.uint8], seed: int) -> NDArray[np.int64]:
    return _stored(CORRUPTIONS[name](image, strength, np.random.default_rng(seed))).astype(np.int64)


def assert_near(name: str, found: NDArray[np.int64], expected: NDArray[np.uint8]) -> None:
    away = np.abs(found - expected)
    assert away.max() <= (0 if name in EQUAL else 1)
    assert name in ROUNDED or (away > 0).mean() < 0.25


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", SETS)
def test_every_strength_gives_the_package_s_pixels(which: str, name: str) -> None:
    golden = np.load(GOLDEN)
    for strength, expected in zip(SETS[which][name], golden[f"{which}/{name}"], strict=True):
        assert_near(name, own(name, strength, golden["image"], SEED), expected)
