"""Formats of shares, differences and p values."""

from __future__ import annotations

UNKNOWN = "–"


def percent(share: float) -> str:
    """Write a share in [0, 1] as a percentage with one decimal."""
    return f"{100 * share:.1f}"


def signed(share: float) -> str:
    """Write a difference of shares in percentage points, with its sign and one decimal."""
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def signed_interval(difference: float, interval: tuple[float, float]) -> str:
    """Write a difference with its interval, in percentage points."""
    return f"{signed(difference)} ({signed(interval[0])}, {signed(interval[1])})"


def in_draws(count: int) -> str:
    """Write a number of draws: "1 draw", "10 draws"."""
    return f"{count} {'draw' if count == 1 else 'draws'}"


def p_value(p: float | None) -> str:
    """Write a p value with three decimals, `UNKNOWN` if there is no test."""
    if p is None:
        return UNKNOWN
    return "<0.001" if p < 0.0005 else f"{p:.3f}"
