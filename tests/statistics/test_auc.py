"""The area under the ROC curve is scikit-learn's, and its interval is the score interval that Newcombe describes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from stein_bench.statistics.auc import area, auc
from stein_bench.statistics.rates import Z95

LABELED = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=60)


@pytest.mark.integration
@given(LABELED)
@settings(max_examples=150, deadline=None)
def test_the_area_is_that_of_an_independent_implementation(labeled):
    """Small whole scores: many ties, which count half."""
    scores = np.array([float(score) for score, _ in labeled])
    positive = np.array([flag for _, flag in labeled])
    found = auc(scores, positive)
    if positive.all() or not positive.any():
        assert found is None
    else:
        assert found.value == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
        assert 0 <= found.low <= found.value <= found.high <= 1
        turned = auc(-scores, positive)
        assert (turned.value, turned.low, turned.high) == pytest.approx(
            (1 - found.value, 1 - found.high, 1 - found.low)
        )


def test_infinite_scores_have_their_rank():
    scores = np.array([np.inf, 1.0, 0.0, -np.inf])
    assert auc(scores, np.array([True, True, False, False])).value == 1
    assert auc(scores, np.array([False, True, True, False])).value == 0.5


def hanley_mcneil(theta, positives, negatives):
    """The variance as its authors state it (1982, equation 1), with one sample size for both: symmetric."""
    q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
    less = (positives + negatives) / 2 - 1
    spread = theta * (1 - theta) + less * (q1 - theta**2) + less * (q2 - theta**2)
    return spread / (positives * negatives)


@pytest.mark.parametrize(("value", "positives", "negatives"), [(0.8, 20, 30), (0.55, 100, 7), (0.99, 15, 15)])
def test_both_ends_are_where_the_value_is_just_compatible(value, positives, negatives):
    found = area(value, positives, negatives)
    for end in (found.low, found.high):
        deviation = abs(value - end) / math.sqrt(hanley_mcneil(end, positives, negatives))
        assert deviation == pytest.approx(Z95, rel=1e-9)


def test_a_perfect_ranking_of_few_samples_is_no_certainty():
    assert area(1.0, 5, 5).high == 1
    assert area(1.0, 5, 5).low == pytest.approx(0.65, abs=0.03)
    assert area(0.0, 5, 5).high == pytest.approx(1 - area(1.0, 5, 5).low)
    assert area(1.0, 500, 500).low > 0.99


def test_the_interval_covers_the_true_area():
    """Normal scores a known distance apart, few samples: about 95 of 100 intervals hold the area that they estimate."""
    rng, true = np.random.default_rng(0), 0.5 * (1 + math.erf(1.2 / 2))
    positive = np.arange(35) < 15
    held = 0
    for _ in range(600):
        found = auc(rng.normal(size=35) + 1.2 * positive, positive)
        held += found.low <= true <= found.high
    assert 0.93 <= held / 600 <= 0.985
