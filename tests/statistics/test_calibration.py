"""The expected calibration error, and that of a perfectly calibrated model on as many samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stein_bench.statistics.calibration import calibration_error, error_if_calibrated


def by_definition(confidence, correct, bins):
    """Guo et al. (2017), equation 3, in words: loop over the intervals ((b-1)/B, b/B]."""
    total, n = 0.0, len(confidence)
    for b in range(1, bins + 1):
        low = -1 if b == 1 else (b - 1) / bins
        inside = [i for i, p in enumerate(confidence) if low < p <= b / bins]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            total += len(inside) / n * abs(accuracy - mean)
    return total


def test_two_bins_by_hand():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.3, 0.3])
    correct = np.array([1, 1, 1, 0, 1, 0], bool)
    # accuracies 3/4 and 1/2: gaps of 0.15 and 0.2, in 4 and in 2 of 6 samples
    assert calibration_error(confidence, correct) == pytest.approx((4 * 0.15 + 2 * 0.2) / 6)


def test_gaps_of_one_bin_cancel_and_those_of_two_do_not():
    confidence, correct = np.array([0.52, 0.98]), np.array([True, False])
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(0.25)
    assert calibration_error(confidence, correct, bins=2) == pytest.approx(0.25)
    assert calibration_error(confidence, correct) == pytest.approx((0.48 + 0.98) / 2)


def test_an_edge_belongs_to_the_bin_below_and_0_and_1_to_the_outer_ones():
    """0.5 of two bins is in the first one, with 0: their surpluses cancel there and not beside 1."""
    confidence, correct = np.array([0.0, 0.5, 1.0]), np.array([True, False, True])
    assert calibration_error(confidence, correct, bins=2) == pytest.approx(0.5 / 3)


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_it_is_what_the_definition_says(pairs, bins):
    # a third of a thousandth beside every multiple: no confidence is on an edge but 0
    confidence = np.array([(3 * p + 1) / 3003 if p else 0.0 for p, _ in pairs])
    correct = np.array([right for _, right in pairs])
    found = calibration_error(confidence, correct, bins)
    assert found == pytest.approx(by_definition(confidence, correct, bins), abs=1e-12)
    assert abs(confidence.mean() - correct.mean()) - 1e-12 <= found <= 1


def test_it_does_not_depend_on_the_order_of_samples():
    rng = np.random.default_rng(1)
    confidence, correct, order = rng.random(200), rng.random(200) < 0.5, rng.permutation(200)
    assert calibration_error(confidence, correct) == pytest.approx(calibration_error(confidence[order], correct[order]))


CONFIDENCES = {
    "spread": lambda rng, n: rng.uniform(0.1, 1, n),
    "sharp": lambda rng, n: 1 - 0.5 * rng.beta(0.15, 1.5, n),
    "certain": lambda rng, n: 1 - 0.4 * rng.beta(0.03, 1.5, n),
    "low": lambda rng, n: rng.uniform(0.1, 0.3, n),
}


@pytest.mark.parametrize("n", [50, 300, 2000])
@pytest.mark.parametrize("kind", list(CONFIDENCES))
def test_the_error_of_a_calibrated_model_is_that_of_a_simulation(kind, n):
    rng = np.random.default_rng(n)
    confidence = CONFIDENCES[kind](rng, n)
    simulated = np.mean([calibration_error(confidence, rng.random(n) < confidence) for _ in range(1000)])
    assert error_if_calibrated(confidence) == pytest.approx(simulated, rel=0.12 if n == 50 else 0.08)


def test_the_error_of_a_calibrated_model_falls_with_the_root_of_the_number_of_samples():
    confidence = np.random.default_rng(0).uniform(0.3, 0.9, 1000)
    assert error_if_calibrated(np.tile(confidence, 4)) == pytest.approx(error_if_calibrated(confidence) / 2)


def test_one_bin_has_the_normal_distributions_mean_deviation_and_rare_errors_their_own():
    assert error_if_calibrated(np.full(400, 0.5)) == pytest.approx(math.sqrt(2 / math.pi) * 10 / 400)
    # One prediction deviates by 2p(1-p) on average, which the normal approximation exceeds four times.
    assert error_if_calibrated(np.array([0.99])) == pytest.approx(2 * 0.99 * 0.01)
    assert error_if_calibrated(np.ones(10)) == 0


def test_an_overconfident_model_has_a_larger_error_than_a_calibrated_one():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.6, 1, 1000)
    expected = error_if_calibrated(confidence)
    assert calibration_error(confidence, rng.random(1000) < confidence) < 1.6 * expected
    assert calibration_error(confidence, rng.random(1000) < confidence - 0.2) > 4 * expected


def test_nothing_is_known_without_predictions():
    nothing = np.empty(0)
    assert math.isnan(calibration_error(nothing, nothing.astype(bool)))
    assert math.isnan(error_if_calibrated(nothing))
