"""Short formats of ratios near 1, far above and far below it. This module does not import torch."""

from __future__ import annotations


def figure(value: float) -> str:
    """Format a ratio, in at most seven characters, so that it shows on which side of 1 it is.

    >>> figure(1.5), figure(0.9994), figure(0.999963), figure(405000)
    ('1.5', '0.9994', '1-4e-5', '4.0e5')
    """
    if value != 1 and abs(value - 1) < 0.0005:
        digits, exponent = f"{value - 1:+.0e}".split("e")
        return f"1{digits}e{int(exponent)}"
    if abs(value - 1) < 0.0995:
        return f"{value:.4f}"
    if 1e-3 <= abs(value) < 1e4 or value == 0:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"
