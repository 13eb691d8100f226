"""Mean corruption error: by hand, against the published figures of a network, and where it is undefined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stein_bench.corruptions.names import SEVERITIES, STANDARD
from stein_bench.measures.mce import (
    ALEXNET,
    ALEXNET_CLEAN,
    corruption_error,
    mce,
    relative_corruption_error,
    relative_mce,
)

ERRORS = {"fog": (0.2, 0.4), "snow": (0.5, 0.5)}
BASELINE = {"snow": (0.6, 0.65), "fog": (0.5, 0.7)}

rates = st.lists(st.floats(0.01, 1), min_size=2, max_size=2)


def test_the_errors_over_severities_are_summed_before_they_are_divided():
    """0.6 / 1.2, not the mean of 0.2 / 0.5 and 0.4 / 0.7."""
    assert corruption_error(ERRORS["fog"], BASELINE["fog"]) == pytest.approx(0.5)
    assert corruption_error(ERRORS["snow"], BASELINE["snow"]) == pytest.approx(0.8)
    assert mce(ERRORS, BASELINE) == pytest.approx(0.65)


def test_the_relative_error_counts_only_what_corruption_adds():
    """Fog (0.6 - 0.2) / (1.2 - 0.6), snow (1.0 - 0.2) / (1.25 - 0.6)."""
    assert relative_corruption_error(ERRORS["fog"], 0.1, BASELINE["fog"], 0.3) == pytest.approx(2 / 3)
    assert relative_mce(ERRORS, 0.1, BASELINE, 0.3) == pytest.approx((2 / 3 + 0.8 / 0.65) / 2)


def test_a_network_that_is_better_under_corruption_has_a_negative_relative_error():
    assert relative_corruption_error((0.1, 0.1), 0.2, (0.5, 0.5), 0.4) == pytest.approx(-1)


def test_without_anything_to_divide_by_there_is_no_figure():
    assert corruption_error((0.1,), (0.0,)) is None
    assert mce({"fog": (0.1,), "snow": (0.1,)}, {"fog": (0.2,), "snow": (0.0,)}) is None
    assert mce({}, {}) is None
    assert relative_mce({"fog": (0.3,)}, 0.1, {"fog": (0.2,)}, 0.2) is None
    assert relative_mce({"fog": (0.3,)}, 0.1, {"fog": (0.1,)}, 0.2) is None


@given(st.lists(st.integers(0, 62), min_size=5, max_size=5), st.integers(1, 10_000))
def test_a_baseline_whose_errors_add_up_to_its_clean_ones_has_no_relative_error(errors, n):
    """Rounding leaves about 1e-17 of the difference; it is no rise."""
    n = max(n, 62)
    shares = [error / n for error in errors]
    mean = sum(errors) / 5 / n
    assert relative_corruption_error([0.9] * 5, 0.1, shares, mean) is None
    assert relative_corruption_error([0.9] * 5, 0.1, [shares[0] + 1 / n, *shares[1:]], mean) == pytest.approx(4 * n)


def test_other_corruptions_or_severities_are_an_error():
    with pytest.raises(ValueError, match="only one has frost, snow"):
        mce({"fog": (0.1,), "snow": (0.1,)}, {"fog": (0.1,), "frost": (0.1,)})
    with pytest.raises(ValueError, match="at 1 severities cannot be related to errors at 2"):
        mce({"fog": (0.1,)}, {"fog": (0.1, 0.2)})
    with pytest.raises(ValueError, match="at 2 severities"):
        mce(dict.fromkeys(ALEXNET, (0.1, 0.2)), ALEXNET)


@given(st.dictionaries(st.sampled_from(STANDARD), rates, min_size=1))
def test_the_baseline_itself_has_one_and_half_its_errors_have_half(errors):
    assert mce(errors, errors) == pytest.approx(1)
    assert mce({name: [e / 2 for e in values] for name, values in errors.items()}, errors) == pytest.approx(0.5)


def test_alexnet_is_complete_and_its_own_measure():
    assert tuple(ALEXNET) == STANDARD
    assert {len(errors) for errors in ALEXNET.values()} == {len(SEVERITIES)}
    assert mce(ALEXNET, ALEXNET) == pytest.approx(1)
    assert relative_mce(ALEXNET, ALEXNET_CLEAN, ALEXNET, ALEXNET_CLEAN) == pytest.approx(1)


def test_published_corruption_errors_follow_from_their_accuracies():
    """Of a ResNet-50, as printed in bethgelab/game-of-noise, Results/clean_results.txt: accuracies, CE, and mCE."""
    accuracies = (
        27.42, 27.89, 23.05, 41.17, 24.38, 39.77, 38.05, 33.44, 39.06, 44.14, 67.66, 38.12, 44.06, 45.70, 54.45,
    )  # fmt: skip
    printed = (
        81.88, 80.62, 83.41, 71.75, 91.53, 76.64, 77.60, 76.79, 73.72, 68.18, 57.29, 72.52, 86.58, 75.64, 75.10,
    )  # fmt: skip
    errors = {name: [1 - share / 100] * 5 for name, share in zip(STANDARD, accuracies, strict=True)}
    for name, ce in zip(STANDARD, printed, strict=True):
        assert corruption_error(errors[name], ALEXNET[name]) == pytest.approx(ce / 100, abs=2e-4)
    assert mce(errors, ALEXNET) == pytest.approx(0.7662, abs=2e-4)


def test_the_published_relative_error_takes_the_clean_error_from_every_severity():
    """ResNet-50, table 1 of Hendrycks and Dietterich (2019): CE in whole percent, mCE 76.7, relative mCE 105.0.

    Taken once from the sum of five errors it would be 80 %.
    """
    published = (80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77)
    errors = {name: [ce / 100 * ALEXNET[name][0]] * 5 for name, ce in zip(STANDARD, published, strict=True)}
    assert mce(errors, ALEXNET) == pytest.approx(0.767, abs=3e-3)
    assert relative_mce(errors, 0.239, ALEXNET, ALEXNET_CLEAN) == pytest.approx(1.05, abs=5e-3)
