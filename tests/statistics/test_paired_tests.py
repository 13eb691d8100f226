"""The paired statistics, against scipy, published examples and properties."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from stein_bench.statistics import paired_tests
from stein_bench.statistics.paired_tests import (
    LEAST_BATCHES,
    Counts,
    batch_losses,
    block_size,
    count,
    detectable_drop,
    difference_interval,
    flip_test,
    flip_tests,
    holm,
    mcnemar,
    paired,
)
from stein_bench.statistics.rates import wilson

SMALL = st.integers(0, 60)


@pytest.mark.parametrize(
    ("lost", "gained"),
    [(0, 0), (0, 5), (5, 0), (1, 1), (3, 4), (4, 3), (10, 2), (400, 330), (330, 400), (26_000, 24_000), (5000, 4999)],
)
def test_the_exact_test_agrees_with_scipy(lost, gained):
    if lost + gained:
        expected = binomtest(lost, lost + gained, alternative="greater").pvalue
        assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)
    else:
        assert mcnemar(0, 0) == 1.0


@given(SMALL, SMALL)
def test_the_exact_test_is_the_sum_of_binomials_in_rational_numbers(lost, gained):
    trials = lost + gained
    expected = Fraction(sum(math.comb(trials, k) for k in range(lost, trials + 1)), 2**trials)
    assert mcnemar(lost, gained) == pytest.approx(float(expected), rel=1e-13)


def test_very_small_p_keep_their_digits_until_floats_end():
    assert mcnemar(1000, 0) == 2.0**-1000
    assert mcnemar(1000, 1) == pytest.approx(1002 * 2.0**-1001, rel=1e-13)
    assert mcnemar(50_000, 0) == 0.0


def test_the_two_sided_p_of_a_published_table():
    """Bentur et al. 2009, in M. W. Fagerland et al., BMC Medical Research Methodology 13:91 (2013): exact p 0.070."""
    result = paired(*bits(Counts(1, 1, 7, 12)))
    assert result.p == pytest.approx(0.0703125)
    assert result.p == pytest.approx(binomtest(1, 8).pvalue)


def bits(counts):
    """Return two outcomes with this table."""
    rows = [(True, True)] * counts.both + [(True, False)] * counts.lost
    rows += [(False, True)] * counts.gained + [(False, False)] * counts.neither
    first, second = np.array(rows, np.bool_).reshape(-1, 2).T
    return first, second


PUBLISHED = [
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 2635, table III, method 10.
    (Counts(36, 12, 2, 0), 0.0569, 0.3404),
    # D. G. Altman et al., Statistics with Confidence, 2nd ed. (2000), table 6.2.
    (Counts(14, 5, 0, 22), 0.011, 0.226),
    # M. W. Fagerland et al., Statistical Analysis of Contingency Tables (2017), chapter 8.
    (Counts(59, 6, 16, 80), -0.1186, -0.0046),
]


@pytest.mark.parametrize(("counts", "low", "high"), PUBLISHED)
def test_intervals_are_the_published_ones(counts, low, high):
    """They give the first accuracy minus the second: the negative of ours."""
    digits = len(str(high).partition(".")[2])
    ours = difference_interval(counts)
    assert (round(-ours[1], digits), round(-ours[0], digits)) == (low, high)


@given(SMALL, SMALL, SMALL, SMALL)
def test_an_interval_holds_its_difference_and_mirrors_that_of_the_exchanged_outcomes(both, lost, gained, neither):
    counts = Counts(both, lost, gained, neither)
    low, high = difference_interval(counts)
    assert -1 <= low < high <= 1
    mirrored = difference_interval(Counts(both, gained, lost, neither))
    assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]), abs=1e-12)
    if counts.n:
        assert low <= counts.difference <= high
        both_and_neither_exchanged = difference_interval(Counts(neither, lost, gained, both))
        assert (low, high) == pytest.approx(both_and_neither_exchanged, abs=1e-12)


def test_counts_of_a_pair():
    first, second = np.array([1, 1, 1, 0, 0, 1], np.bool_), np.array([1, 0, 0, 1, 0, 1], np.bool_)
    counts = count(first, second)
    assert (counts.both, counts.lost, counts.gained, counts.neither, counts.n) == (2, 2, 1, 1, 6)
    assert counts.difference == pytest.approx(-1 / 6)
    assert math.isnan(Counts(0, 0, 0, 0).difference)


def test_outcomes_of_different_lengths_are_no_pair():
    with pytest.raises(ValueError, match="3 and 4"):
        count(np.ones(3, np.bool_), np.ones(4, np.bool_))


def test_batch_losses_are_summed_over_consecutive_samples_with_a_short_last_batch():
    first, second = np.array([1, 1, 0, 0, 1], np.bool_), np.array([0, 0, 1, 0, 0], np.bool_)
    assert batch_losses(first, second, 2).tolist() == [2, -1, 1]
    assert batch_losses(first[:0], second[:0], 2).size == 0


@given(st.lists(st.integers(-4, 6), min_size=1, max_size=9))
def test_flipping_batches_agrees_with_every_sign_pattern_counted(losses):
    patterns = list(itertools.product((1, -1), repeat=len(losses)))
    hits = sum(sum(s * x for s, x in zip(signs, losses, strict=True)) >= sum(losses) for signs in patterns)
    assert flip_test(np.array(losses)) == pytest.approx(hits / len(patterns), rel=1e-12)


def test_flipping_batches_agrees_with_scipy():
    losses = np.array([3, 0, 2, -1, 4, 1, 1, -2, 5, 2, 0, 1])
    expected = permutation_test(
        (losses.astype(float),), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert flip_test(losses) == pytest.approx(expected.pvalue, rel=1e-9)


@given(SMALL, SMALL)
def test_batches_of_one_sample_are_mcnemars_test(lost, gained):
    losses = np.array([1] * lost + [-1] * gained, np.int64)
    assert flip_test(losses) == pytest.approx(mcnemar(lost, gained), rel=1e-12)


def test_coupled_samples_are_tested_by_batches_and_say_less():
    """Ten samples lost in one batch of ten are one event, not ten."""
    first = np.ones(200, np.bool_)
    second = first.copy()
    second[:10] = False
    alone, batch_dependent = paired(first, second), paired(first, second, 10)
    assert alone.p_drop == 2.0**-10
    assert batch_dependent.p_drop == 0.5
    assert batch_dependent.p_gain == 1.0
    assert batch_dependent.interval == alone.interval


def test_below_ten_batches_the_test_is_left_out():
    first, second = np.ones(99, np.bool_), np.zeros(99, np.bool_)
    nine = paired(first, second, 11)
    assert (nine.p_drop, nine.p_gain, nine.p) == (None, None, None)
    assert paired(first, second, 10).p_drop == 2.0**-LEAST_BATCHES
    assert (nine.units, paired(first, second, 10).units, paired(first, second).units) == (9, 10, 99)


def test_holm_in_a_worked_example():
    """0.005, 0.01, 0.03 and 0.04, times 4, 3, 2 and 1, and none below its predecessor."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_lies_between_the_p_and_bonferroni_keeps_their_order_and_ignores_that_of_the_rows(ps, random):
    adjusted = holm(ps)
    assert all(p <= q <= min(1.0, len(ps) * p) + 1e-15 for p, q in zip(ps, adjusted, strict=True))
    ranked = sorted(zip(ps, adjusted, strict=True))
    assert [q for _, q in ranked] == sorted(q for _, q in ranked)
    order = list(range(len(ps)))
    random.shuffle(order)
    assert holm([ps[i] for i in order]) == [adjusted[i] for i in order]


@pytest.mark.parametrize(
    ("tolerance", "alpha", "tests", "n", "expected"),
    [
        (0.01, 0.05, 1, 500, 0.01),  # 5 samples of 500
        (0.01, 0.05, 3, 500, 6 / 500),  # log2(60) = 5.9
        (0.01, 0.05, 22, 50_000, 0.01),
        (0.0, 0.05, 22, 50_000, 9 / 50_000),  # log2(440) = 8.8
        (0.01, 0.0625, 1, 100, 4 / 100),  # log2(16) is 4, not 5
        (0.01, 0.05, 1, 4, None),
        (0.01, 0.05, 1, 5, 1.0),
        (0.01, 0.05, 1, 0, None),
    ],
)
def test_the_detectable_drop(tolerance, alpha, tests, n, expected):
    assert detectable_drop(tolerance, alpha, tests, n, n) == expected


def test_few_batches_can_prove_nothing_among_many_tests():
    """Ten batches have no p below 2^-10: among 60 comparisons none is below 0.05."""
    assert detectable_drop(0.01, 0.05, 51, 1000, 10) == 0.01
    assert detectable_drop(0.01, 0.05, 52, 1000, 10) is None


@given(st.integers(1, 40), st.integers(50, 5000), st.sampled_from([0.01, 0.05, 0.1]))
def test_fewer_lost_samples_than_the_detectable_drop_are_never_significant_and_as_many_are(tests, n, alpha):
    needed = round(detectable_drop(0.0, alpha, tests, n, n) * n)
    assert tests * mcnemar(needed, 0) < alpha <= tests * mcnemar(needed - 1, 0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=10, max_size=60), st.integers(2, 5))
def test_copies_of_the_samples_add_nothing(pairs, copies):
    """Every base image in several identical versions: p and intervals are those of the base images alone."""
    first, second = np.array(pairs, np.bool_).T
    alone = paired(first, second)
    many = paired(first.repeat(copies), second.repeat(copies), cluster=copies)
    assert (many.p_drop, many.p_gain) == (pytest.approx(alone.p_drop, rel=1e-9), pytest.approx(alone.p_gain, rel=1e-9))
    assert many.interval == pytest.approx(alone.interval)
    assert (many.n, many.units, many.flipped) == (copies * alone.n, alone.n, "base images")


def test_versions_of_a_base_image_are_one_event():
    """All 15 versions of one image of twelve are lost: taken as samples that would be p = 2^-15, but it is 1/2."""
    first = np.ones(180, np.bool_)
    second = first.copy()
    second[:15] = False
    assert paired(first, second).p_drop == 2.0**-15
    whole = paired(first, second, cluster=15)
    assert (whole.p_drop, whole.p_gain, whole.lost, whole.difference) == (0.5, 1.0, 15, -15 / 180)
    assert whole.interval == pytest.approx(difference_interval(Counts(11, 1, 0, 0)))


def test_the_interval_counts_whole_base_images():
    """32 samples of 15 versions are two whole base images: Newcombe's interval of the same shares with n = 2."""
    counts = Counts(20, 8, 2, 2)
    first, second = wilson(28 / 32 * 2, 2), wilson(22 / 32 * 2, 2)
    numerator = max(0.0, (20 * 2 - 8 * 2) * (2 / 32) ** 2 - 2 / 2)
    phi = numerator / math.sqrt(28 * 4 * 22 * 10) / (2 / 32) ** 2
    below, above = second.value - second.low, first.high - first.value
    expected = counts.difference - math.sqrt(below**2 - 2 * phi * below * above + above**2)
    assert difference_interval(counts, cluster=15)[0] == pytest.approx(expected)
    assert difference_interval(counts, cluster=100) == pytest.approx(difference_interval(counts, cluster=32))


@pytest.mark.parametrize(
    ("batch_size", "cluster", "block"),
    [(None, 1, None), (None, 15, 15), (10, 1, 10), (10, 15, 30), (30, 15, 30), (5, 15, 15), (7, 3, 21)],
)
def test_blocks_split_neither_batches_nor_base_images(batch_size, cluster, block):
    assert block_size(batch_size, cluster) == block
    outcomes = paired(np.ones(300, np.bool_), np.zeros(300, np.bool_), batch_size, cluster)
    assert outcomes.units == -(-300 // (block or 1))


def test_both_flip_tests_come_from_one_distribution_also_of_many_units():
    """Sums that are as good as impossible are dropped on the way, which changes no p."""
    rng = np.random.default_rng(0)
    losses = rng.integers(-20, 22, 1500)
    whole = np.ones(1)
    for size in np.abs(losses):
        whole = np.convolve(whole, np.bincount([0, size]) / 2)
    ends = whole[losses[losses > 0].sum() :].sum(), whole[-losses[losses < 0].sum() :].sum()
    assert flip_tests(losses) == pytest.approx(ends, rel=1e-12)
    assert flip_test(-losses) == flip_tests(losses)[1]
    assert flip_tests(np.ones(1000, np.int64)) == (2.0**-1000, 1.0)
    assert flip_tests(-np.ones(1200, np.int64))[0] == 1.0


def built(losses, monkeypatch):
    """The flip tests built unit by unit, however many there are."""
    with monkeypatch.context() as patch:
        patch.setattr(paired_tests, "_MOST_BUILT", losses.size)
        return flip_tests(losses)


@pytest.mark.parametrize(
    ("units", "most", "shift"), [(50, 1, 0), (50, 3, 0.3), (400, 5, 0.5), (3000, 5, 0), (3000, 5, 0.3), (4000, 75, -5)]
)
def test_the_distribution_from_its_characteristic_function_is_the_one_built_unit_by_unit(
    monkeypatch, units, most, shift
):
    """Also far out: the last has p = 10^-50."""
    drawn = np.random.default_rng(0).normal(shift, most / 4 + 0.5, units)
    losses = np.clip(np.rint(drawn), -most, most).astype(np.int64)
    expected = built(losses, monkeypatch)
    monkeypatch.setattr(paired_tests, "_MOST_BUILT", 0)
    assert flip_tests(losses) == pytest.approx(expected, rel=1e-10, abs=0)


@pytest.mark.parametrize(
    ("lost", "gained"), [(3000, 0), (1500, 1400), (1400, 1500), (2000, 1000), (2000, 2000), (1, 2999)]
)
def test_many_units_of_one_size_have_the_exact_test_of_their_number(lost, gained):
    losses = 3 * np.concatenate([np.ones(lost, np.int64), -np.ones(gained, np.int64), np.zeros(500, np.int64)])
    assert losses.size > paired_tests._MOST_BUILT
    assert flip_tests(losses) == pytest.approx((mcnemar(lost, gained), mcnemar(gained, lost)), rel=1e-10, abs=1e-300)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_the_tail_is_the_share_of_all_sign_patterns(losses):
    values, counts = np.unique(np.abs([x for x in losses if x]), return_counts=True)
    sums = [
        sum(abs(x) for x, kept in zip(losses, signs, strict=True) if kept)
        for signs in itertools.product((False, True), repeat=len(losses))
    ]
    for reached in range(sum(map(abs, losses)) + 2):
        expected = sum(total >= reached for total in sums) / len(sums)
        found = paired_tests._tail(values, counts, reached) if values.size else float(reached == 0)
        assert found == pytest.approx(expected, rel=1e-9)
