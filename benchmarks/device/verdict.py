"""Whether a ratio meets its goal, or whether the noise of the measurement forbids to say so."""

from __future__ import annotations

MET, MISSED, NOISE = "met", "missed", "noise"


def at_most(ratio: float, goal: float, again: float) -> str:
    """Return whether `ratio` is at most `goal`.

    Args:
        ratio: the measured ratio to a baseline.
        goal: its limit.
        again: the ratio of the baseline to itself, measured in the same way; its distance from 1 is the noise.
    """
    return _verdict(goal - ratio, abs(again - 1) * ratio)


def at_least(ratio: float, goal: float, again: float) -> str:
    """Return whether `ratio` is at least `goal`; arguments as in `at_most`."""
    return _verdict(ratio - goal, abs(again - 1) * ratio)


def _verdict(margin: float, noise: float) -> str:
    if noise > 0 and abs(margin) <= noise:
        return NOISE
    return MET if margin >= 0 else MISSED
