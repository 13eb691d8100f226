"""Statistics over seeds, against scipy and a worked example."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stein_bench.reproduction.replicates import (
    detectable_effect,
    expected_width,
    mean_sd,
    paired_t,
    power,
    sd_interval,
    seeds_for_width,
)


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


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30, 300])
@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_power_is_that_of_the_noncentral_t_distribution(n: int, level: float) -> None:
    """Independent: scipy's distribution function, which is NaN in parts of the range."""
    critical = stats.t.ppf(1 - level / 2, n - 1)
    for effect in (0.0, 0.2, 1.0, 3.0):
        shifted = stats.nct(n - 1, effect * math.sqrt(n))
        expected = shifted.sf(critical) + shifted.cdf(-critical)
        if not math.isnan(expected):
            assert power(effect, n, level) == pytest.approx(expected, abs=2e-6)
    assert power(0.0, n, level) == pytest.approx(level, abs=1e-5)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_detectable_difference_is_found_by_the_test_in_80_of_100_simulated_experiments(n: int) -> None:
    effect = detectable_effect(n)
    assert effect is not None
    differences = np.random.default_rng(n).normal(effect, 1, (4000, n))
    found = stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.025)  # four standard errors


@pytest.mark.integration
def test_more_seeds_and_a_milder_level_show_smaller_differences() -> None:
    by_seeds = [detectable_effect(n) for n in range(2, 40)]
    assert by_seeds == sorted(by_seeds, reverse=True)
    assert detectable_effect(10, 0.05 / 3) > detectable_effect(10)
    assert detectable_effect(1) is None


def test_ten_seeds_show_one_standard_deviation() -> None:
    """Cohen's tables of the paired test: an effect of 1.0 takes 10 pairs for a power of 0.80."""
    assert detectable_effect(10) == pytest.approx(0.996, abs=5e-4)


def test_the_expected_width_is_the_mean_width_of_simulated_intervals() -> None:
    rng = np.random.default_rng(3)
    for n in (2, 4, 12):
        intervals = [paired_t([0.0] * n, list(sample)).interval for sample in rng.normal(1, 0.02, (4000, n))]
        widths = [high - low for low, high in intervals]
        assert expected_width(n, 0.02) == pytest.approx(np.mean(widths), rel=4 * 0.8 / math.sqrt(4000))


def test_the_seeds_for_a_width_are_the_fewest() -> None:
    for width in (0.5, 1.0, 3.0):
        n = seeds_for_width(width, 1.0)
        assert n is not None
        assert expected_width(n, 1.0) <= width < expected_width(n - 1, 1.0)
    assert seeds_for_width(0.01, 1.0) is None


def test_the_interval_of_an_sd_is_that_of_chi_square() -> None:
    for n in (2, 3, 20):
        low, high = stats.chi2.ppf([0.025, 0.975], n - 1)
        assert sd_interval(2.0, n) == pytest.approx((2 * math.sqrt((n - 1) / high), 2 * math.sqrt((n - 1) / low)))
