"""The corruptions against imagecorruptions-imaug itself, where it is installed: `reference` says what it is."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.corruptions.published import IMAGENET
from tests.corruptions.photographs import photographs
from tests.corruptions.reference import NAMES, SETS, reference, tables
from tests.corruptions.test_reference import ROUNDED, own

package = pytest.importorskip("imagecorruptions.corruptions", exc_type=ImportError)


def test_the_strengths_for_large_images_are_the_package_s() -> None:
    theirs = tables(package)
    assert len(theirs) == 18
    for name, rows in theirs.items():
        found = IMAGENET[name]
        if name == "zoom_blur":
            assert [list(np.arange(1, *row)) for row in found] == [list(row) for row in rows]
        else:
            assert list(found) == [row if isinstance(row, tuple) else (row,) for row in rows], name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "jpeg_compression"])
def test_the_package_itself_agrees_on_a_large_image(name: str) -> None:
    image = (photographs(224)[3].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    for severity in (1, 4):
        strength = SETS["imagenet"][name][severity - 1]
        found, expected = own(name, strength, image, 5), reference(package, name, strength, image, 5)
        away = np.abs(found - expected)
        # Where a value is a whole number up to rounding, an edge may fall on either side.
        assert (away > 1).mean() < 1e-3, severity
        assert name in ROUNDED or (away > 0).mean() < 0.25, severity
