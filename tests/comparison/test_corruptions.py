"""Corruptions in the gate and in comparisons: which accuracies there are, their tests by hand, and what is refused."""

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stein_bench.comparison.compare import compare
from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.contrasts import contrasts, corruption_contrasts
from stein_bench.comparison.corruptions import averages, ranges
from stein_bench.comparison.document import Leaderboard, PairTable
from stein_bench.comparison.gate import gate
from stein_bench.comparison.gate_result import GateResult
from stein_bench.comparison.leaderboard import GRADED, VERSIONS, Named
from stein_bench.comparison.policy import Policy, Rule
from stein_bench.errors import UsageError
from stein_bench.measures import Segmented
from stein_bench.measures.mce import mce, relative_mce
from stein_bench.render.comparison.compare import compare_csv, compare_markdown, grid
from stein_bench.render.comparison.gate_files import gate_junit, gate_markdown
from stein_bench.report.results import CommonCorruptions, ExpectedAccuracy, MeanCorruptionError
from stein_bench.statistics.class_counts import ClassCounts
from stein_bench.statistics.paired_tests import Counts, difference_interval
from tests.reports import PGD, bits, corrupted, corruption, doubtful, in_cells, label, replaced, report, variant

NOISE = "noise-gaussian:std=0.1,seeds=3"
FOG, SNOW = "corruptions/fog", "corruptions/snow"
RIGHT = bits(0)
ONLY = Policy(rules=(Rule(accuracy="clean", ignore=True), Rule(accuracy="pgd", ignore=True)))


def under(found, n=100, **changes):
    """A report of one variant that is always right on the clean input and under pgd, with these corruptions."""
    one = variant(clean=bits(0, n), attacks={PGD: bits(0, n)}, **changes)
    return report(corrupted(one, found), config={"batch-size": 10})


def common(wrong=None, names=("fog", "snow"), severities=(1, 2), n=100):
    """Common corruptions, right everywhere but where `wrong` says so, by (name, severity)."""
    wrong = wrong or {}
    return {f"{name}:severity={s}": bits(wrong.get((name, s), 0), n) for name in names for s in severities}


def row(result, accuracy):
    (one,) = [c for c in result.comparisons if c.accuracy == accuracy]
    return one


def found(result, kind):
    return [finding.message for finding in result.findings if finding.kind == kind]


def test_the_draws_of_a_noise_are_one_accuracy_with_every_number_by_hand():
    """Eight samples of 100 are lost in one draw of three: 8 of 300 versions, p = 2^-8, and of three tests 3 · 2^-8."""
    result = gate(under({NOISE: [bits(8), RIGHT, RIGHT]}), under({NOISE: [RIGHT] * 3}))
    one = row(result, NOISE)
    assert (one.title, one.samples, one.versions) == ("noise-gaussian 0.1", 100, 3)
    assert (one.before, one.now, one.difference) == (1.0, pytest.approx(292 / 300), pytest.approx(-8 / 300))
    assert (one.lost, one.gained, one.newly_broken) == (8, 0, tuple(range(8)))
    assert (one.p_drop, one.p_drop_adjusted, result.tests) == (2.0**-8, 3 * 2.0**-8, 3)
    assert one.interval == difference_interval(Counts(292, 8, 0, 0), cluster=3)
    assert one.detectable_drop == max(0.01, 6 / 300)  # log2(3 / 0.05) = 5.9
    assert (one.status, one.flipped, result.verdict) == ("regression", None, "failed")
    assert found(result, "regression") == [
        "sample/running, noise-gaussian 0.1: 97.3 %, 100.0 % before; 8 of 300 corrupted versions newly wrong, 0 newly "
        "right; adjusted p = 0.012"
    ]


def test_a_sample_that_is_lost_in_every_draw_is_one_loss():
    """Three samples in three draws: 9 of 300 versions, but p = 2^-3."""
    one = row(gate(under({NOISE: [bits(3)] * 3}), under({NOISE: [RIGHT] * 3})), NOISE)
    assert (one.lost, one.p_drop, one.status) == (9, 2.0**-3, "unproven")


def test_draws_that_make_up_for_each_other_are_no_loss_of_the_sample():
    """Sample 0 is lost in one draw and gained in another; sample 1 is lost in both."""
    before = {NOISE: [bits([]), bits([0]), RIGHT]}
    now = {NOISE: [bits([0, 1]), bits([1]), RIGHT]}
    one = row(gate(under(now), under(before), Policy(tolerance=0)), NOISE)
    assert (one.lost, one.gained, one.newly_broken, one.p_drop) == (3, 1, (1,), 0.5)


def test_common_corruptions_are_one_accuracy_each_and_their_mean():
    """Ten samples lost in fog at severity 2: 10 of 200 versions in fog, none in snow, 10 of 400 in the mean."""
    result = gate(under(common({("fog", 2): 10})), under(common()), ONLY)
    rows = {c.accuracy: (c.title, c.versions, c.now, c.lost, c.p_drop, c.status) for c in result.comparisons}
    assert rows == {
        FOG: ("fog at 1-2", 2, 0.95, 10, 2.0**-10, "regression"),
        SNOW: ("snow at 1-2", 2, 1.0, 0, 1.0, "unchanged"),
        "corruptions": ("2 corruptions", 4, 0.975, 10, 2.0**-10, "regression"),
    }
    assert result.tests == 3
    assert found(result, "regression")[0].endswith(f"adjusted p = {3 * 2.0**-10:.2g}")


def test_all_corruptions_at_all_severities_are_sixteen_tests_instead_of_76():
    names = [f"c{number}" for number in range(15)]
    everything = under(common(names=names, severities=range(1, 6)))
    result = gate(everything, everything)
    assert (result.verdict, result.findings, result.tests) == ("passed", (), 2 + 16)
    assert {c.versions for c in result.comparisons} == {None, 5, 75}
    assert {c.title for c in result.comparisons} >= {"c0", "15 corruptions"}


def test_a_single_corruption_at_one_severity_is_an_exact_test_of_samples_and_its_own_mean():
    one = gate(under(common({("fog", 3): 8}, ["fog"], [3])), under(common(None, ["fog"], [3])), ONLY).comparisons
    assert [(c.accuracy, c.title, c.versions, c.p_drop) for c in one] == [(FOG, "fog at 3", None, 2.0**-8)]


def test_corruptions_do_not_enter_the_worst_case():
    result = gate(under(common({("fog", 1): 100})), under(common()))
    assert {c.accuracy for c in result.comparisons} == {"clean", label(PGD), "corruptions", FOG, SNOW}
    assert row(result, label(PGD)).status == "unchanged"


def test_reports_without_corruptions_are_gated_as_ever():
    result = gate(under({}), under({}))
    assert ([c.accuracy for c in result.comparisons], result.tests) == (["clean", label(PGD)], 2)
    assert "versions" not in result.to_json()


def test_what_the_report_lacks_is_missing_and_told_by_corruption():
    result = gate(under(common(severities=[2])), under({**common(severities=[1, 2, 3, 5]), NOISE: [RIGHT] * 3}))
    assert result.verdict == "failed"
    assert [(f.accuracy, f.message) for f in result.findings if f.kind == "missing"] == [
        (FOG, "sample/running, fog at severity 1, 3, 5: the corruption is missing from the report"),
        (NOISE, f"sample/running, {NOISE}: the corruption is missing from the report"),
        (SNOW, "sample/running, snow at severity 1, 3, 5: the corruption is missing from the report"),
    ]
    assert row(result, FOG).title == "fog at 2"


def test_what_is_ignored_may_be_missing_unless_the_mean_needs_it():
    now, before = under(common(names=["snow"])), under(common())
    fog = Rule(accuracy="fog", ignore=True)
    assert len(found(gate(now, before, Policy(rules=(fog,))), "missing")) == 1
    neither = Policy(rules=(fog, Rule(accuracy="corruptions", ignore=True)))
    assert gate(now, before, neither).verdict == "passed"
    mean_only = gate(before, before, Policy(rules=(Rule(accuracy="corruptions/*", ignore=True),)))
    assert [c.accuracy for c in mean_only.comparisons] == ["clean", "corruptions", label(PGD)]


@pytest.mark.parametrize(
    ("now", "before", "reason"),
    [
        (
            {"noise-gaussian:std=0.2,seeds=3": [RIGHT] * 3}, {NOISE: [RIGHT] * 3},
            f"the corruption has other parameters: noise-gaussian:std=0.2,seeds=3, not {NOISE}",
        ),
        (
            {"fog:severity=3,source=archive": RIGHT}, {"fog:severity=3": RIGHT},
            "the corruption has other parameters: fog:source=archive at severity 3, not fog at severity 3",
        ),
        (
            common(severities=[1, 3]), common(severities=[1, 2]),
            "the corruption has other parameters: fog at severity 3, not fog at severity 2",
        ),
        ({NOISE: [RIGHT] * 2}, {NOISE: [RIGHT] * 3}, "noise-gaussian 0.1: the corruption has another number of draws"),
    ],
)  # fmt: skip
def test_other_parameters_are_refused(now, before, reason):
    result = gate(under(now), under(before))
    assert result.verdict == "refused"
    assert any(message.endswith(reason) for message in found(result, "refused")), found(result, "refused")


def test_new_corruptions_are_noted_on_one_line_and_leave_the_mean_over_the_old_ones():
    now = {**common({("fog", 3): 100}, severities=[1, 2, 3]), NOISE: [RIGHT] * 3}
    result = gate(under(now), under(common()))
    assert (result.verdict, row(result, "corruptions").now) == ("passed", 1.0)
    assert found(result, "new") == [
        f"sample/running: corruptions that the baseline does not have: fog at severity 3; snow at severity 3; {NOISE}"
    ]


def test_a_failed_corruption_is_refused():
    result = gate(under({**common(), NOISE: []}), under(common()))
    assert found(result, "refused") == ["the report: sample (running), noise-gaussian: failed: RuntimeError: no memory"]


def test_an_accuracy_that_its_draws_contradict_is_refused():
    honest = under(common())
    one = honest.variants[0]
    edited = replaced(one, corruptions=[replaced(one.corruptions[0], accuracy=0.99), *one.corruptions[1:]])
    assert found(gate(report(edited), honest), "refused") == [
        "the report: sample/running, fog:severity=1: the accuracy 0.99 contradicts its own outcomes"
    ]
    robbed = replaced(one, outcomes=replaced(one.outcomes, corrupted_correct={}))
    told = found(gate(report(robbed), honest), "refused")
    assert "the report: sample/running, fog:severity=1: there is an accuracy but no per-sample outcomes" in told
    assert "cannot be trusted (sample/running, fog:severity=1: the accuracy 0.99" in conclude(report(edited)).sentence
    (marked,) = [r for r in compare([Named("A", honest), Named("B", report(edited))]).rows if r.accuracy == FOG]
    assert marked.reason == "second: its accuracy contradicts its own outcomes"


def test_damaged_draws_are_an_input_error():
    one = under(common()).variants[0]
    broken = replaced(one, outcomes=replaced(one.outcomes, corrupted_correct={"fog:severity=1": ["AAAA"]}))
    with pytest.raises(UsageError, match="the report, sample/running: packed outcomes hold 3 bytes"):
        gate(report(broken), under(common()))


def test_floors_are_of_everything_that_the_report_has_whatever_the_baseline():
    """Fog (100 + 40) / 200, the mean (100 + 40 + 200) / 400."""
    now = under(common({("fog", 2): 60}))
    rules = [Rule(accuracy=name, minimum=0.8) for name in ("fog", "snow", "corruptions")]
    result = gate(now, under({}), Policy(rules=rules))
    assert [(f.accuracy, f.title, f.value, f.held) for f in result.floors] == [
        (FOG, "fog at 1-2", 0.7, False), ("corruptions", "2 corruptions", 0.85, True),
        (SNOW, "snow at 1-2", 1.0, True),
    ]  # fmt: skip
    noisy = under({NOISE: [bits(50), bits(20), bits(20)]})
    (floor,) = gate(noisy, noisy, Policy(rules=(Rule(accuracy="noise-*", minimum=0.71),))).floors
    assert (floor.accuracy, floor.value, floor.held) == (NOISE, pytest.approx(0.7), False)


@pytest.mark.parametrize("right", [70, 10, 30, 60])
def test_floors_are_met_by_the_very_share(right: int) -> None:
    """70 of 100 at each of three severities are 0.7, though three times 0.7 by three is less in floating point."""
    now = under({f"fog:severity={level}": bits(100 - right) for level in (1, 2, 3)})
    result = gate(now, now, Policy(rules=(Rule(accuracy="fog", minimum=right / 100),)))
    assert [(floor.value, floor.held) for floor in result.floors] == [(right / 100, True)]
    above = Policy(rules=(Rule(accuracy="fog", minimum=right / 100 + 0.001),))
    assert [floor.held for floor in gate(now, now, above).floors] == [False]


def test_tolerances_are_of_the_accuracy_by_name():
    now, before = under(common({("fog", 2): 10})), under(common())
    rules = (Rule(accuracy="fog", tolerance=0.05), Rule(accuracy="corruptions", tolerance=0.025))
    assert gate(now, before, Policy(rules=rules)).verdict == "passed"
    assert gate(now, before, Policy(rules=(rules[0],))).verdict == "failed"
    with pytest.raises(UsageError, match=r"matches nothing here\. Did you mean 'snow'"):
        gate(now, before, Policy(rules=(Rule(accuracy="snwo", ignore=True),)))


def test_under_batch_statistics_whole_batches_are_exchanged_in_all_their_versions():
    """Twenty batches of ten: ten lost samples in one batch prove nothing, one in each of twenty batches does."""
    right, five = bits(0, 200), NOISE.replace("3", "5")
    before = under({five: [right] * 5}, 200, stats="batch")
    clumped = row(gate(under({five: [bits(10, 200)] * 5}, 200, stats="batch"), before), five)
    assert (clumped.p_drop, clumped.assumes_independence, clumped.flipped) == (0.5, True, None)
    every = bits(range(0, 200, 10), 200)
    assert row(gate(under({five: [every, *[right] * 4]}, 200, stats="batch"), before), five).p_drop == 2.0**-20


def test_below_ten_samples_there_is_no_test_of_several_draws():
    result = gate(under({NOISE: [bits(9, 9)] * 3}, 9), under({NOISE: [bits(0, 9)] * 3}, 9), ONLY)
    assert (result.comparisons[0].p_drop, result.comparisons[0].detectable_drop) == (None, None)
    assert result.messages("warning")[0].endswith("(below 10 samples there is no test)")


def test_on_a_corrupted_test_set_whole_base_images_are_exchanged_in_all_their_draws():
    """Two of twenty base images are lost in all of their four cells and three draws: p = 1/4."""
    cells = ("fog/1", "fog/2", "snow/1", "snow/2")

    def noisy(lost):
        one = in_cells(variant(clean=bits(0, 80), attacks={PGD: bits(0, 80)}), *cells)
        return report(corrupted(one, {NOISE: [bits(4 * lost, 80)] * 3}))

    one = row(gate(noisy(2), noisy(0)), NOISE)
    assert (one.p_drop, one.flipped, one.samples, one.versions, one.lost) == (0.25, "base images", 80, 3, 24)


@pytest.mark.integration
def test_at_most_alpha_of_the_builds_fail_although_nothing_got_worse():
    """The draws of a sample change together, either way alike; counted one by one they would fail far more."""
    failed = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        before, now = ([(level > 0) & (rng.random(60) < 0.9) for _ in range(5)] for level in rng.normal(size=(2, 60)))
        names = [f"fog:severity={severity}" for severity in range(1, 6)]
        reports = (under(dict(zip(names, draws, strict=True)), 60) for draws in (now, before))
        failed += gate(*reports, Policy(tolerance=0, alpha=0.1, rules=ONLY.rules)).verdict == "failed"
    assert failed / 300 <= 0.1 + 2.5 * (0.09 / 300) ** 0.5


draws = st.lists(
    st.integers(0, 2**20 - 1).map(lambda number: np.array([number >> i & 1 for i in range(20)], np.bool_)),
    min_size=7, max_size=7,
)  # fmt: skip


def drawn(own, order=None):
    labels = [f"{name}:severity={s}" for name in ("fog", "snow") for s in (1, 3)]
    given = {**dict(zip(labels, own, strict=False)), NOISE: own[4:]}
    return under({key: given[key] for key in (order or list(given))}, 20)


@settings(max_examples=30, deadline=None)
@given(draws, draws, st.randoms())
def test_the_order_of_corruptions_makes_no_difference_and_exchanging_the_reports_exchanges_the_signs(one, two, random):
    labels = [*(f"{name}:severity={s}" for name in ("fog", "snow") for s in (1, 3)), NOISE]
    result, back = gate(drawn(one), drawn(two)), gate(drawn(two), drawn(one))
    shuffled = gate(drawn(one, random.sample(labels, 5)), drawn(two, random.sample(labels, 5)))
    assert shuffled == result
    there, other = ({c.accuracy: c for c in found.comparisons} for found in (result, back))
    for key, c in there.items():
        assert (c.lost, c.difference) == (other[key].gained, -other[key].difference)
        assert c.p_gain_adjusted == other[key].p_drop_adjusted
    mean = there["corruptions"]
    assert mean.difference == pytest.approx((there[FOG].difference + there[SNOW].difference) / 2)
    assert GateResult.model_validate_json(result.to_json()) == result
    assert gate(drawn(one), drawn(one)).findings == ()


def test_two_reports_are_compared_under_corruptions_after_the_worst_case():
    a = under({**common(), NOISE: [RIGHT] * 3})
    b = under({**common({("fog", 2): 10}), "noise-uniform:amount=0.1": RIGHT})
    table = compare([Named("A", a), Named("B", b)])
    rows = [(r.accuracy, r.title, r.versions, r.reason) for r in table.rows]
    assert rows == [
        ("clean", "clean", None, ""), (label(PGD), "pgd 8/255", None, ""),
        ("corruptions", "2 corruptions", 4, ""), (FOG, "fog at 1-2", 2, ""), (SNOW, "snow at 1-2", 2, ""),
        (NOISE, "noise-gaussian 0.1", None, "the second has no result"),
        ("noise-uniform:amount=0.1", "noise-uniform 0.1", None, "the first has no result"),
    ]  # fmt: skip
    d = table.rows[3].difference
    assert (d.value, d.lost, d.gained, d.p, d.p_adjusted) == (pytest.approx(-0.05), 10, 0, 2.0**-9, 5 * 2.0**-9)
    assert (table.rows[3].samples, table.rows[3].second_accuracy) == (100, 0.95)
    assert VERSIONS in table.notes
    assert PairTable.model_validate_json(table.to_json()) == table
    assert "| fog at 1-2 | 100.0 | 95.0 |" in compare_markdown(table)
    assert [line["accuracy"] for line in csv.DictReader(io.StringIO(compare_csv(table)))] == [r[0] for r in rows]


def test_the_clean_error_of_a_random_model_is_the_expected_one_as_those_under_corruptions_are():
    """Clean 0.2 and 0.3 instead of the votes' 0.05 and 0.1; corruptions 0.4 and 0.5: (0.5 - 0.3) / (0.4 - 0.2)."""

    cells = [(name, level) for name in ("fog", "snow") for level in (1, 2)]

    def drawn(votes, expected, wrong):
        one = corrupted(variant(clean=bits(votes), attacks={}), common(dict.fromkeys(cells, wrong)))
        figure = ExpectedAccuracy(value=expected, ci95=(0.1, 0.9), draws=9)
        return report(replaced(one, clean=replaced(one.clean, expected_accuracy=figure)))

    a, b = drawn(5, 0.8, 40), drawn(10, 0.7, 50)
    (errors,) = compare([Named("A", a), Named("B", b)]).errors
    assert (errors.mce, errors.relative_mce) == (pytest.approx(1.25), pytest.approx(1.0))


def test_severities_that_only_one_report_has_are_named():
    a, b = under(common(severities=(1, 2))), under(common(severities=(2, 3, 4)))
    table = compare([Named("A", a), Named("B", b)])
    assert [r.title for r in table.rows[2:]] == ["2 corruptions", "fog at 2", "snow at 2"]
    assert table.notes[-2:] == (
        "sample/running: only the first has fog at severity 1; snow at severity 1: not compared",
        "sample/running: only the second has fog at severity 3-4; snow at severity 3-4: not compared",
    )


def test_draws_with_different_seeds_are_noted_unless_the_images_are_published():
    told = "corruptions were drawn with different seeds (0, 1): the samples of a pair are the same, the draws are not"
    for found, expected in ((common(), True), ({"fog:severity=1,source=archive": RIGHT}, False), ({}, False)):
        a, b = under(found), under(found)
        b = replaced(b, run=replaced(b.run, seed=1))
        assert (told in compare([Named("A", a), Named("B", b)]).notes) is expected
        assert (told in compare([Named("A", a), Named("B", a)]).notes) is False


def test_the_errors_of_the_second_are_related_to_those_of_the_first():
    """Fog (0.3 + 0.5) / (0.1 + 0.3) = 2, snow (0.2 + 0.2) / (0.4 + 0.4) = 0.5; clean errors are 0.05 and 0.1."""
    ours = {("fog", 1): 10, ("fog", 2): 30, ("snow", 1): 40, ("snow", 2): 40}
    theirs = {("fog", 1): 30, ("fog", 2): 50, ("snow", 1): 20, ("snow", 2): 20}
    a, b = (
        report(corrupted(variant(clean=bits(clean), attacks={}), common(wrong)))
        for clean, wrong in ((5, ours), (10, theirs))
    )
    table = compare([Named("A", a), Named("B", b)])
    (one,) = table.errors
    assert one.mce == pytest.approx(1.25)
    assert one.relative_mce == pytest.approx((0.6 / 0.3 + 0.2 / 0.7) / 2)
    assert one.corruption_errors == {"fog": pytest.approx(2), "snow": pytest.approx(0.5)}
    base, errors = {"fog": (0.1, 0.3), "snow": (0.4, 0.4)}, {"fog": (0.3, 0.5), "snow": (0.2, 0.2)}
    assert (one.mce, one.relative_mce) == (mce(errors, base), pytest.approx(relative_mce(errors, 0.1, base, 0.05)))
    assert "sample/running: mCE 125.0 %, relative mCE 114.3 % over 2 corruptions" in grid(table).notes
    free = report(corrupted(variant(attacks={}), common()))
    assert compare([Named("A", free), Named("B", b)]).errors[0].mce is None
    assert compare([Named("A", under({})), Named("B", under({}))]).errors == ()


def with_errors(found, baseline="AlexNet"):
    """A report with a mean corruption error; what it is a mean of is not looked at by a comparison."""
    made = under(found)
    error = MeanCorruptionError(baseline=baseline, baseline_run=None, mce=0.8, relative_mce=None)
    common_ones = CommonCorruptions(corruptions={}, accuracy=0.5, ci95=(0.4, 0.6), standard=False, mce=error)
    return replaced(made, variants=[replaced(one, common_corruptions=common_ones) for one in made.variants])


def test_mean_corruption_errors_of_a_leaderboard_are_over_its_corruptions_and_name_their_baseline():
    found = {"A": with_errors(common()), "B": under(common()), "C": with_errors(common(severities=(1,)))}
    named = [Named(name, one) for name, one in found.items()]
    board = compare([named[0], Named("D", found["A"]), *named[1:]])
    told = {row.source: row.mce and row.mce.mce for row in board.rows}
    assert told == {"A": 0.8, "D": 0.8, "B": None, "C": None}
    laid = grid(board)
    column = laid.headers.index("mCE %")
    assert {row[1]: row[column] for row in laid.rows} == {"A": "80.0", "D": "80.0", "B": "–", "C": "–"}
    assert column in laid.right
    assert "mCE: mean corruption error over the common corruptions, relative to AlexNet; below 100 % is better" in (
        laid.notes
    )
    lines = list(csv.DictReader(io.StringIO(compare_csv(board))))
    assert {line["report"]: (line["mce"], line["mce_baseline"]) for line in lines} == {
        "A": ("0.8", "AlexNet"), "D": ("0.8", "AlexNet"), "B": ("", ""), "C": ("", ""),
    }  # fmt: skip
    without = compare([Named(name, found["B"]) for name in "ABC"])
    assert "mCE %" not in grid(without).headers
    assert "mce" not in compare_csv(without)


def test_errors_relative_to_different_baselines_are_said_not_to_be_comparable():
    a, b = with_errors(common()), with_errors(common(), "mine, sample/running")
    notes = grid(compare([Named("A", a), Named("B", b), Named("C", a)])).notes
    start = "mCE: mean corruption error over the common corruptions, relative to"
    assert [note.removeprefix(start) for note in notes if note.startswith(start)] == [
        " AlexNet in A, C; not comparable with other baselines",
        " mine, sample/running in B; not comparable with other baselines",
    ]


def test_the_variants_of_a_report_are_compared_under_corruptions_and_its_conclusion_stays_what_it_was():
    plain, stein = variant(), variant("stein")
    both = report(corrupted(plain, common()), corrupted(stein, common({("fog", 1): 50})))
    (one,) = [r for r in compare([Named("A", both)]).rows if r.accuracy == FOG]
    assert (one.first, one.second, one.difference.value) == ("sample/running", "stein/running", -0.25)
    assert contrasts(both) == contrasts(report(plain, stein))
    assert conclude(both) == conclude(report(plain, stein))
    own = {c.accuracy: (c.variant, c.difference.value, c.difference.p_adjusted) for c in corruption_contrasts(both)}
    assert own == {
        "corruptions": ("stein/running", -0.125, 3 * 2.0**-49), FOG: ("stein/running", -0.25, 3 * 2.0**-49),
        SNOW: ("stein/running", 0.0, 1.0),
    }  # fmt: skip


def test_a_leaderboard_shows_the_means_that_most_have_and_does_not_rank_by_them():
    best = under({**common({("fog", 1): 40}), NOISE: [bits(30), RIGHT, RIGHT]})
    lacking, other = under(common(severities=[1])), under({**common(), NOISE: [RIGHT] * 3})
    board = compare([Named(name, one) for name, one in zip("ABC", (best, lacking, other), strict=True)])
    assert [(column.label, column.title) for column in board.corruptions] == [
        ("corruptions", "2 corruptions"), (FOG, "fog at 1-2"), (SNOW, "snow at 1-2"),
        (NOISE, "noise-gaussian 0.1"),
    ]  # fmt: skip
    values = {r.source: {key: rated.value for key, rated in r.corruptions.items()} for r in board.rows}
    assert values["A"] == {"corruptions": 0.9, FOG: 0.8, SNOW: 1.0, NOISE: pytest.approx(0.9)}
    assert values["B"] == {}
    assert {r.rank for r in board.rows} == {1}
    assert board.rows[0].corruptions["corruptions"].interval == pytest.approx(
        corruption("x", bits(10)).ci95  # 90 of 100 samples, not 360 of 400
    )
    laid = grid(board)
    assert laid.headers[5:7] == ("2 corruptions", "noise-gaussian 0.1")
    assert [cells[5:7] for cells in laid.rows] == [("90.0", "90.0"), ("–", "–"), ("100.0", "100.0")]
    assert "corruptions do not count in the worst case and the ranking" in laid.notes
    assert [line[FOG] for line in csv.DictReader(io.StringIO(compare_csv(board)))] == ["0.8", "", "1.0"]
    assert Leaderboard.model_validate_json(board.to_json()) == board


def test_an_invalid_attack_has_nothing_to_do_with_corruptions():
    one = report(doubtful(corrupted(variant(), common())))
    (fog,) = [r for r in compare([Named("A", one), Named("B", one)]).rows if r.accuracy == FOG]
    assert fog.difference is not None


def test_files_of_the_gate_have_the_corruptions():
    result = gate(under(common({("fog", 2): 10})), under(common()))
    text = gate_markdown(result)
    assert "| sample/running | fog at 1-2 | 100.0 | 95.0 |" in text
    assert f"- {VERSIONS}" in text
    assert "fewer versions right in sample/running, fog at 1-2: first samples 0, 1, 2" in text
    cases = {case.get("name"): case for case in ET.fromstring(gate_junit(result)).iter("testcase")}
    assert cases["fog at 1-2 [corruptions/fog]"].find("failure") is not None
    assert cases["snow at 1-2 [corruptions/snow]"].find("failure") is None


def test_corruptions_of_a_segmentation_are_left_out_with_a_note():
    counts = np.full((12, 2), 5)
    clean = Segmented(ClassCounts(counts, counts, counts))
    kept = Segmented.packed(clean, {}, {NOISE: [clean, clean]})
    one = variant(clean=bits(0, 12), attacks={})
    one = replaced(one, corruptions=[corruption(NOISE, bits(0, 12), bits(0, 12))])
    one = replaced(one, outcomes=replaced(one.outcomes, clean_correct=None, **kept))
    whole = report(one)
    whole = replaced(whole, data=replaced(whole.data, task="segmentation"))
    result = gate(whole, whole)
    assert (result.verdict, found(result, "note")) == ("passed", [GRADED])
    assert [c.title for c in result.comparisons] == ["clean mIoU"]
    without = replaced(
        one, corruptions=(), outcomes=replaced(one.outcomes, clean_correct=None, **Segmented.packed(clean, {}, {}))
    )
    for reports in ((whole, replaced(whole, variants=[without])), (replaced(whole, variants=[without]), whole)):
        assert GRADED in found(gate(*reports), "note")
    table = compare([Named("A", whole), Named("B", whole)])
    assert GRADED in table.notes
    assert [r.accuracy for r in table.rows] == ["clean"]
    with pytest.raises(UsageError, match="matches nothing"):
        gate(whole, whole, Policy(rules=(Rule(accuracy="noise-*", minimum=0.1),)))


def test_titles_tell_severities_sources_and_noises_apart():
    results = [
        corruption(text, RIGHT)
        for text in (
            "fog:severity=2", "fog:severity=1,source=archive", "noise-gaussian:std=0.1,seeds=1",
            "noise-gaussian:std=0.1,seeds=2", "noise-x:amount=0.2",
        )
    ]  # fmt: skip
    assert [(one.key, one.name, one.title) for one in averages(results)] == [
        ("corruptions", "corruptions", "2 corruptions"), ("corruptions/fog", "fog", "fog at 2"),
        ("corruptions/fog:source=archive", "fog", "fog:source=archive at 1"),
        *((f"noise-gaussian:std=0.1,seeds={n}", "noise-gaussian", f"noise-gaussian:std=0.1,seeds={n}") for n in (1, 2)),
        ("noise-x:amount=0.2", "noise-x", "noise-x 0.2"),
    ]  # fmt: skip
    alone = averages([corruption("fog:severity=1,source=archive", RIGHT)])
    assert [(one.name, one.title) for one in alone] == [("fog", "fog at 1")]
    assert ranges([5, 1, 2, 3]) == "1-3, 5"
    assert ranges([1, 3, 4]) == "1, 3-4"
