"""Mean corruption error: by hand, against the published figures of a network, and where it is undefined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stein_bench.data.corruptions import SEVERITIES, STANDARD
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


def test_other_corruptions_or_severities_are_an_error():
    with pytest.raises(ValueError, match="only one has frost, snow"):
        mce({"fog": (0.1,), "snow": (0.1,)}, {"fog": (0.1,), "frost": (0.1,)})
    with pytest.raises(ValueError, match="at 1 severities cannot be related to errors at 2"):
        mce({"fog": (0.1,)}, {"fog": (0.1, 0.2)})
    with pytest.raises(ValueError, match="at 2 severities"):
        mce({name: (0.1, 0.2) for name in ALEXNET}, ALEXNET)


@given(st.dictionaries(st.sampled_from(STANDARD), rates, min_size=1))
def test_the_baseline_itself_has_one_and_half_its_errors_have_half(errors):
    assert mce(errors, errors) == pytest.approx(1)
    assert mce({name: [e / 2 for e in values] for name, values in errors.items()}, errors) == pytest.approx(0.5)


def test_alexnet_is_complete_and_its_own_measure():
    assert tuple(ALEXNET) == STANDARD
    assert {len(errors) for errors in ALEXNET.values()} == {len(SEVERITIES)}
    assert mce(ALEXNET, ALEXNET) == pytest.approx(1)
    assert relative_mce(ALEXNET, ALEXNET_CLEAN, ALEXNET, ALEXNET_CLEAN) == pytest.approx(1)


def test_a_published_mean_corruption_error_is_reproduced():
    """ResNet-50 of torchvision, table 1 of Hendrycks and Dietterich (2019): CE 80, 82, 83, …, mCE 76.7."""
    published = (79.8, 81.6, 82.6, 74.7, 88.6, 78.0, 79.9, 77.8, 74.8, 66.1, 56.6, 71.4, 84.8, 76.9, 76.8)
    errors = {
        name: [ce / 100 * ALEXNET[name][0]] * 5 for name, ce in zip(STANDARD, published, strict=True)
    }
    assert mce(errors, ALEXNET) == pytest.approx(0.767, abs=5e-4)
    clean = 0.239
    by_hand = sum(
        (sum(errors[name]) / 5 - clean) / (ALEXNET[name][0] - ALEXNET_CLEAN) for name in STANDARD
    ) / len(STANDARD)
    assert relative_mce(errors, clean, ALEXNET, ALEXNET_CLEAN) == pytest.approx(by_hand)
