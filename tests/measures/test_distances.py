"""Mean, median and maximum of perturbation norms."""

from __future__ import annotations

import numpy as np

from stein_bench.measures.distances import spread


def test_spread_gives_mean_median_and_maximum():
    found = spread(np.array([1.0, 2.0, 6.0]))
    assert (found.mean, found.median, found.max) == (3.0, 2.0, 6.0)


def test_spread_over_nothing_is_none():
    assert spread(np.empty(0)) is None
