"""Colors of the cells of a heat map."""

from __future__ import annotations

from typing import NamedTuple

LIGHT, DARK = (247, 251, 255), (8, 69, 148)
"""Ends of the scale, for shares 0 and 1: one hue, so that it is readable without color vision and in print."""
TURN = 0.73
"""From this share on the text is white, so that text and cell have a contrast of at least 4.5 to 1 (WCAG 2)."""


class Shade(NamedTuple):
    """Colors of a cell and of the text in it, as ``#rrggbb``."""

    fill: str
    text: str


def shade(share: float) -> Shade:
    """Return the colors for a share in [0, 1], the darker the larger."""
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(low + share * (high - low)) for low, high in zip(LIGHT, DARK, strict=True))
    return Shade(f"#{red:02x}{green:02x}{blue:02x}", "#ffffff" if share >= TURN else "#000000")
