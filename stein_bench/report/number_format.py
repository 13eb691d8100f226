"""Formats of shares, differences, p values, durations and sizes of memory."""

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


def about(seconds: float) -> str:
    """Write an estimated duration with two figures at most, in the unit that suits it.

    >>> about(4.21), about(42.3), about(100), about(480), about(5400), about(20_000), about(300_000)
    ('4.2 s', '42 s', '100 s', '8 min', '90 min', '5.6 h', '3.5 d')
    """
    value, unit = float(seconds), "s"
    for size, larger in ((60.0, "min"), (60.0, "h"), (24.0, "d")):
        if value < 2 * size - 0.5:
            break
        value, unit = value / size, larger
    number = f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
    return f"{number} {unit}"


def about_between(low: float, high: float) -> str:
    """Write an interval of durations; the unit once if it is the same.

    >>> about_between(480, 1200), about_between(40, 720)
    ('8 to 20 min', '40 s to 12 min')
    """
    first, last = about(low), about(high)
    if first == last:
        return first
    return f"{first.split()[0]} to {last}" if first.split()[1] == last.split()[1] else f"{first} to {last}"


def memory_size(count: int) -> str:
    """Write a number of bytes.

    >>> memory_size(700 * 2**20), memory_size(5 * 2**30)
    ('700 MiB', '5.0 GiB')
    """
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
