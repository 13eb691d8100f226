"""Rates, their intervals, and what robust and broken mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from stein_bench.statistics.rates import (
    accuracy,
    attack_success,
    expected_accuracy,
    independent_units,
    mean_accuracy,
    robust_bits,
    wilson,
)

CLEAN = np.array([True, True, True, False, False])
BROKEN = np.array([True, False, False, True, False])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 29, 100, 500, 10_000])
def test_intervals_agree_with_scipy_for_every_kind_of_count(n):
    for successes in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        expected = binomtest(successes, n).proportion_ci(0.95, method="wilson")
        rate = wilson(successes, n)
        assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_of_newcombes_table(successes, n, low, high):
    """R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    rate = wilson(successes, n)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate_within_0_and_1_and_mirrors_that_of_the_failures(counts):
    successes, n = counts
    rate, mirrored = wilson(successes, n), wilson(n - successes, n)
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.low < rate.high
    assert (rate.low, rate.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-12)


def test_the_ends_are_exact_where_none_or_all_succeed():
    assert wilson(0, 7).low == 0.0
    assert wilson(7, 7).high == 1.0


def test_over_no_sample_nothing_is_known():
    rate = wilson(0, 0)
    assert (rate.low, rate.high) == (0.0, 1.0)
    assert math.isnan(rate.value)


def test_accuracy_counts_the_right_ones():
    rate = accuracy(CLEAN)
    assert (rate.successes, rate.n, rate.value) == (3, 5, 0.6)


def test_robust_is_right_on_the_clean_and_on_the_adversarial_input():
    """A sample that was wrong before the attack is not robust, whether the attack counts it or not."""
    assert robust_bits(CLEAN, BROKEN).tolist() == [False, True, True, False, False]


def test_attack_success_is_counted_among_the_clean_correct_alone():
    rate = attack_success(CLEAN, BROKEN)
    assert (rate.successes, rate.n) == (1, 3)


def test_attack_success_over_no_clean_correct_sample_is_unknown():
    assert math.isnan(attack_success(np.zeros(3, np.bool_), np.ones(3, np.bool_)).value)


def test_draws_of_a_corruption_are_no_further_samples():
    """Two draws with 3 and 4 of 5 right: the mean, with the interval of 5 samples and not of 10."""
    draws = [np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 1, 0, 1], bool)]
    rate = mean_accuracy(draws)
    assert (rate.value, rate.n) == (pytest.approx(0.7), 5)
    assert (rate.low, rate.high) == (wilson(3.5, 5).low, wilson(3.5, 5).high)
    assert rate.high - rate.low > wilson(7, 10).high - wilson(7, 10).low


def test_versions_of_base_images_do_not_narrow_the_interval():
    """24 of 30 right, three versions of ten images: the share of all, with Wilson's interval for n = 10."""
    correct = np.arange(30) < 24
    rate, ten = accuracy(correct, 3), wilson(8, 10)
    assert (rate.value, rate.low, rate.high) == (0.8, pytest.approx(ten.low), pytest.approx(ten.high))
    assert (rate.low, rate.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert accuracy(np.arange(30) < 24, 2).low == pytest.approx(wilson(12, 15).low)
    draws = mean_accuracy([correct, ~correct], 3)
    assert (draws.value, draws.low) == (0.5, pytest.approx(wilson(5, 10).low))


@pytest.mark.parametrize(("samples", "cluster", "units"), [(30, 15, 2), (44, 15, 2), (7, 15, 1), (0, 15, 1), (7, 1, 7)])
def test_only_whole_base_images_count(samples, cluster, units):
    assert independent_units(samples, cluster) == units
    everything = accuracy(np.ones(samples, np.bool_), cluster)
    assert everything.low == pytest.approx(wilson(units, units).low if samples else 0.0)


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 12))
def test_draws_that_agree_give_the_interval_of_single_predictions(bits, draws):
    correct = np.array(bits)
    rate, single = expected_accuracy(np.repeat(correct[:, None], draws, axis=1)), accuracy(correct)
    assert (rate.value, rate.low, rate.high) == pytest.approx((single.value, single.low, single.high), abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 10), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_intervals_of_draws_hold_the_mean_and_stay_within_bounds(n, draws, seed, chance):
    rate = expected_accuracy(np.random.default_rng(seed).random((n, draws)) < chance)
    assert 0 <= rate.low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= rate.high <= 1
    assert rate.high - rate.low > 0.01


def test_several_draws_narrow_the_interval_and_draws_shared_by_all_samples_widen_it():
    rng = np.random.default_rng(0)
    chances = np.full((400, 1), 0.6)
    width = {draws: _width(rng.random((400, draws)) < chances) for draws in (1, 10)}
    assert width[10] < 0.5 * width[1]
    shared = np.repeat(rng.random((1, 10)) < 0.6, 400, axis=0)
    assert _width(shared) > 4 * width[1]


@pytest.mark.filterwarnings("error")
def test_a_single_draw_shares_nothing_and_asks_no_variance_of_one_number():
    draws = np.array([[True], [False], [True]])
    assert _width(draws) == pytest.approx(accuracy(draws[:, 0]).high - accuracy(draws[:, 0]).low)


def _width(draws):
    rate = expected_accuracy(draws)
    return rate.high - rate.low


def test_the_interval_of_draws_is_the_documented_formula_by_hand():
    """Four samples, three draws: the variance of the padded shares over n, and what draws add that samples share."""
    draws = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], bool)
    shares = [2 / 3, 1 / 3, 2 / 3, 1]
    padded = [*shares, 0, 0, 1, 1]
    mean = sum(padded) / 8
    of_samples = sum((share - mean) ** 2 for share in padded) / 8 / 4
    together = ((1 - 2 / 3) ** 2 + (3 / 4 - 2 / 3) ** 2 + (1 / 4 - 2 / 3) ** 2) / 2 / 3  # the draws' accuracies
    alone = (1 / 3 + 1 / 3 + 1 / 3 + 0) / 4 / (4 * 3)  # a sample's draws have the variance 1/3, 1/3, 1/3 and 0
    units = mean * (1 - mean) / (of_samples + together - alone)
    rate, z = expected_accuracy(draws), 1.959963984540054
    half = z / (1 + z**2 / units) * math.sqrt(2 / 9 / units + z**2 / (4 * units**2))
    center = (2 / 3 + z**2 / (2 * units)) / (1 + z**2 / units)
    assert (rate.low, rate.high) == pytest.approx((center - half, min(1, center + half)), abs=1e-12)


def test_versions_of_a_base_image_do_not_count_as_samples_among_draws_either():
    draws = np.random.default_rng(0).random((40, 5)) < np.random.default_rng(1).random((40, 1))
    versions = np.repeat(draws, 6, axis=0)  # six times the same
    few, many = expected_accuracy(draws), expected_accuracy(versions, 6)
    # A little wider: versions that agree in every draw look like draws that samples share.
    assert (many.value, many.low, many.high) == pytest.approx((few.value, few.low, few.high), abs=0.02)
    assert many.high - many.low > 1.3 * _width(versions)


SHARES = {
    "uniform": lambda rng, n: rng.random(n),
    "all equal": lambda _, n: np.full(n, 0.8),
    "rarely wrong": lambda rng, n: np.where(rng.random(n) < 0.03, 0.0, 1.0),
    "two kinds": lambda rng, n: np.where(rng.random(n) < 0.5, 0.95, 0.05),
}
MEANS = {"uniform": 0.5, "all equal": 0.8, "rarely wrong": 0.97, "two kinds": 0.5}


@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize(
    "n", [100, pytest.param(30, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.slow)]
)
def test_intervals_of_draws_cover_the_expected_accuracy(kind, n):
    """At least 95 % but for the error of 400 simulations, also where the samples' chances differ."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        rate = expected_accuracy(rng.random((n, 10)) < SHARES[kind](rng, n)[:, None])
        hits += rate.low <= MEANS[kind] <= rate.high
    assert hits / 400 > 0.92


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 10])
def test_intervals_cover_where_a_model_draws_once_for_a_batch(batches):
    """Ten draws tell little about a variance, so a little less is covered."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        chances = rng.random(200)
        common = rng.random((batches, 10))[np.arange(200) * batches // 200]
        rate = expected_accuracy(common < chances[:, None])
        hits += rate.low <= 0.5 <= rate.high
    assert hits / 400 > 0.88
