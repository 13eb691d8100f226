"""Colors of heat maps."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.render.shades import shade
from tests.render.parsed import contrast, luminance


@pytest.mark.parametrize("share", np.linspace(0, 1, 101))
def test_text_is_readable_on_every_shade(share: float) -> None:
    found = shade(share)
    assert contrast(found.fill, found.text) >= 4.5


def test_larger_shares_are_darker() -> None:
    fills = [luminance(shade(share).fill) for share in np.linspace(0, 1, 21)]
    assert fills == sorted(fills, reverse=True)
    assert shade(-1) == shade(0)
    assert shade(2) == shade(1)
