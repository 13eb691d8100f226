"""Statistics over seeds, against scipy and a worked example."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stein_bench.reproduction.replicates import mean_sd, paired_t


def test_paired_t_matches_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 30):
        first, second = rng.normal(size=(2, n))
        found, expected = paired_t(list(first), list(second)), stats.ttest_rel(second, first)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
        assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-10)


def test_students_own_example() -> None:
    """The sleep data of Student (1908): the second drug gives 1.58 hours more, t = 4.06 on 9 degrees of freedom."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired_t(first, second)
    assert found.mean == pytest.approx(1.58)
    assert found.sd is not None
    assert found.mean / (found.sd / math.sqrt(10)) == pytest.approx(4.0621, abs=1e-4)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert found.interval == pytest.approx((0.7001, 2.4599), abs=1e-4)


def test_one_seed_gives_only_a_difference() -> None:
    found = paired_t([0.5], [0.75])
    assert (found.mean, found.sd, found.interval, found.p) == (0.25, None, None, None)
    assert mean_sd([0.5]) == (0.5, None)


@pytest.mark.parametrize(("first", "second"), [([0.25, 0.5], [0.25, 0.5]), ([0.61, 0.655], [0.63, 0.675])])
def test_differences_that_are_equal_by_chance_have_no_test(first: list[float], second: list[float]) -> None:
    """Of 200 samples each accuracy is a multiple of 0.005: two seeds often differ by exactly the same."""
    found = paired_t(first, second)
    assert found.mean == pytest.approx(second[0] - first[0])
    assert (found.interval, found.p) == (None, None)


@pytest.mark.parametrize(("first", "second"), [([], []), ([0.5], [0.5, 0.6])])
def test_what_cannot_be_paired_is_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_t(first, second)
