"""Calibration of columns: draws, outputs that are not finite, and the inputs that count under an attack."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.measures.calibration import calibration, calibration_under_attack
from stein_bench.statistics.calibration import calibration_error, error_if_calibrated


def columns(confidence, correct):
    return {"confidence": np.array(confidence, np.float32), "correct": np.array(correct, bool)}


def test_every_figure_of_four_predictions_by_hand():
    found = calibration([columns([0.9, 0.9, 0.7, 0.5], [1, 0, 1, 0])])
    assert (found.predictions, found.accuracy) == (4, 0.5)
    assert found.confidence == pytest.approx(0.75, abs=1e-6)
    assert found.confidence_when_wrong == pytest.approx(0.7, abs=1e-6)
    assert found.overconfidence == pytest.approx(0.25, abs=1e-6)
    assert found.ece == pytest.approx((2 * 0.4 + 0.3 + 0.5) / 4, abs=1e-6)
    rare = np.sqrt(2 / np.pi)  # each bin has a variance above 1/π, or 2v is the smaller
    assert found.ece_if_calibrated == pytest.approx(
        (min(rare * np.sqrt(0.18), 0.36) + min(rare * np.sqrt(0.21), 0.42) + min(rare * 0.5, 0.5)) / 4, abs=1e-6
    )


def test_errors_are_means_over_draws_because_draws_are_no_further_samples():
    rng = np.random.default_rng(0)
    draws = [columns(rng.uniform(0.4, 1, 50), rng.random(50) < 0.6) for _ in range(3)]
    found = calibration(draws)
    one = [calibration([draw]) for draw in draws]
    assert found.predictions == 150
    for name in ("accuracy", "confidence", "overconfidence", "ece", "ece_if_calibrated"):
        assert getattr(found, name) == pytest.approx(np.mean([getattr(each, name) for each in one]), abs=2e-6)
    pooled = np.concatenate([draw["confidence"] for draw in draws])
    assert found.ece_if_calibrated > 1.5 * error_if_calibrated(pooled)
    wrong = np.concatenate([draw["confidence"][~draw["correct"]] for draw in draws])
    assert found.confidence_when_wrong == pytest.approx(wrong.mean(), abs=1e-6)
    same = calibration([draws[0]] * 4)
    assert (same.ece, same.ece_if_calibrated) == (one[0].ece, one[0].ece_if_calibrated)


def test_outputs_that_are_not_finite_are_left_out():
    some = calibration([columns([0.8, np.nan, 0.6, np.nan], [1, 0, 0, 0])])
    assert some == calibration([columns([0.8, 0.6], [1, 0])])
    assert calibration([columns([np.nan, np.nan], [0, 0])]) is None


def test_there_is_no_confidence_when_wrong_if_nothing_is():
    assert calibration([columns([0.8, 0.7], [1, 1])]).confidence_when_wrong is None


@pytest.mark.parametrize(
    "draws", [[], [{"correct": np.array([True])}], [columns([0.9], [1]), {"correct": np.array([True])}]]
)
def test_nothing_is_said_without_the_column(draws):
    """Graded images, random models, and units of a journal from before it."""
    assert calibration(draws) is None


def test_under_attack_the_adversarial_input_counts_and_the_clean_one_where_it_is_void():
    clean = columns([0.9, 0.8, 0.6, 0.5], [1, 1, 0, 0])
    adversarial = columns([0.7, 0.99, 0.4, np.nan], [0, 0, 1, 0])
    void = np.array([False, True, False, True])
    found = calibration_under_attack(clean, adversarial, void)
    # The third sample is wrong on the clean input and right on the adversarial one, which is what counts here.
    assert found == calibration([columns([0.7, 0.8, 0.4, 0.5], [0, 1, 1, 0])])
    assert found.accuracy == 0.5
    assert calibration_under_attack({"correct": clean["correct"]}, adversarial, void) is None


def test_figures_have_six_decimals_of_the_calibration_error():
    rng = np.random.default_rng(3)
    confidence, correct = rng.random(77).astype(np.float32), rng.random(77) < 0.5
    found = calibration([columns(confidence, correct)])
    assert found.ece == round(calibration_error(confidence, correct), 6)
