"""Colors of heat maps."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.render.shades import shade


def luminance(color: str) -> float:
    """Relative luminance of ``#rrggbb`` as WCAG 2 defines it."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("share", np.linspace(0, 1, 101))
def test_text_is_readable_on_every_shade(share: float) -> None:
    found = shade(share)
    dark, light = sorted((luminance(found.fill), luminance(found.text)))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_larger_shares_are_darker() -> None:
    fills = [luminance(shade(share).fill) for share in np.linspace(0, 1, 21)]
    assert fills == sorted(fills, reverse=True)
    assert shade(-1) == shade(0)
    assert shade(2) == shade(1)
