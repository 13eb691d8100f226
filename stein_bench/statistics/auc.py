"""Area under the ROC curve of scores for two classes, with its interval. Pure NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stein_bench.statistics.rates import Z95

_BISECTIONS = 60


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve with its 95 % interval [`low`, `high`]; all in [0, 1]."""

    value: float
    low: float
    high: float


def auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Area | None:
    """Return the area under the ROC curve; None if one of the classes has no samples.

    It is the probability that a positive sample scores above a negative one, ties counting half (Mann and Whitney
    1947). Scores may be infinite, but not NaN.
    """
    above, below = scores[positive], np.sort(scores[~positive])
    if not len(above) or not len(below):
        return None
    lower = np.searchsorted(below, above, side="left").sum()
    upper = np.searchsorted(below, above, side="right").sum()
    return area((float(lower) + float(upper)) / 2 / (len(above) * len(below)), len(above), len(below))


def area(value: float, positives: int, negatives: int, z: float = Z95) -> Area:
    """Return the area `value` with its interval, given the numbers of positive and negative samples.

    The interval is the score-type one of Newcombe ("Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic. Part 2", Statistics in Medicine 25, 2006, method 5): all areas θ with
    ``(value - θ)² <= z²·V(θ)``, V being the variance of Hanley and McNeil (Radiology 143, 1982) with both sample sizes
    less one replaced by their mean, (m + n)/2 - 1. Like Wilson's it stays within [0, 1] and has nonzero width at
    0 and 1.
    """
    low = 0.0 if value == 0 else _end(value, 0.0, positives, negatives, z)
    high = 1.0 if value == 1 else _end(value, 1.0, positives, negatives, z)
    return Area(value, low, high)


def _end(value: float, outer: float, positives: int, negatives: int, z: float) -> float:
    """Return the endpoint of the interval between `value` and `outer`, by bisection."""
    inner = value
    for _ in range(_BISECTIONS):
        middle = (inner + outer) / 2
        if abs(value - middle) <= z * math.sqrt(_variance(middle, positives, negatives)):
            inner = middle
        else:
            outer = middle
    return inner


def _variance(theta: float, positives: int, negatives: int) -> float:
    spread = theta * (1 - theta)
    more = (positives + negatives) / 2 - 1
    return spread * (1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (positives * negatives)
