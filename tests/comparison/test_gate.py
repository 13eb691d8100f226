"""What the gate decides: regressions, floors, what is missing and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.comparison.gate import gate, judge
from stein_bench.comparison.policy import Policy, Rule
from stein_bench.errors import UsageError
from stein_bench.measures import Segmented
from stein_bench.report.document import AttackNetworkInfo
from stein_bench.statistics.class_counts import ClassCounts
from tests.reports import FGSM, PGD, attack, bits, corruption, diagnostic, label, replaced, report, variant


def found(result, kind):
    return [finding.message for finding in result.findings if finding.kind == kind]


def row(result, accuracy, name="sample/running"):
    (one,) = [c for c in result.comparisons if (c.variant, c.accuracy) == (name, accuracy)]
    return one


def only(clean=None, attacks=None, **changes):
    """A report of one variant."""
    return report(variant(clean=clean, attacks={PGD: bits(50)} if attacks is None else attacks, **changes))


def test_a_report_passes_against_itself():
    result = gate(report(variant(), variant("stein")), report(variant(), variant("stein")))
    assert result.verdict == "passed"
    assert result.findings == ()
    assert {c.status for c in result.comparisons} == {"unchanged"}
    assert [(c.variant, c.title) for c in result.comparisons] == [
        ("sample/running", "clean"), ("sample/running", "fgsm 8/255"), ("sample/running", "pgd 8/255"),
        ("sample/running", "worst case"), ("stein/running", "clean"), ("stein/running", "fgsm 8/255"),
        ("stein/running", "pgd 8/255"), ("stein/running", "worst case"),
    ]  # fmt: skip


def test_a_gate_that_no_drop_can_fail_warns_of_that():
    """Two batches are too few for a test, so only a policy that fails unproven drops can see one."""
    enough = report(variant())
    batches = report(variant(stats="batch"), config={"batch-size": 50})
    for one, policy, warned in [
        (batches, Policy(), True), (batches, Policy(unproven="fail"), False), (enough, Policy(), False),
    ]:  # fmt: skip
        kinds = [finding.kind for finding in gate(one, one, policy).findings if finding.level == "warning"]
        assert kinds == ["blind"] * warned


def test_a_proven_drop_is_a_regression_with_every_number_by_hand():
    """Ten of 100 samples newly wrong, none newly right: p = 2^-10, and of two comparisons 2^-9."""
    result = gate(only(attacks={PGD: bits(60)}), only())
    assert result.verdict == "failed"
    one = result.comparisons[0]
    assert (one.accuracy, one.status, one.lost, one.gained) == (label(PGD), "regression", 10, 0)
    assert (one.before, one.now, one.difference) == (0.5, 0.4, pytest.approx(-0.1))
    assert (one.p_drop, one.p_drop_adjusted) == (2.0**-10, 2.0**-9)
    assert one.interval[0] < -0.1 < one.interval[1] < 0
    assert one.newly_broken == tuple(range(50, 60))
    assert one.detectable_drop == 6 / 100  # log2(2 / 0.05) = 5.3
    assert result.tests == 2
    assert found(result, "regression") == [
        "sample/running, pgd 8/255: 40.0 %, 50.0 % before; 10 of 100 samples newly wrong, 0 newly right; "
        "adjusted p = 0.002"
    ]


def test_a_drop_that_could_be_chance_is_unproven_and_fails_only_by_policy():
    now, before = only(attacks={PGD: bits(53)}), only()
    result = gate(now, before)
    assert (result.verdict, row(result, label(PGD)).status) == ("passed", "unproven")
    (message,) = result.messages("warning")
    assert message.endswith("beyond the tolerance but not proven (adjusted p = 0.25)")
    strict = gate(now, before, Policy(unproven="fail"))
    assert (strict.verdict, strict.messages("error")) == ("failed", [message])


def test_a_significant_drop_within_the_tolerance_is_no_regression():
    now, before = only(attacks={PGD: bits(60)}), only()
    assert gate(now, before, Policy(tolerance=0.1)).verdict == "passed"
    assert gate(now, before, Policy(tolerance=0.0999)).verdict == "failed"


@pytest.mark.parametrize(("lost", "n", "tolerance"), [(7, 100, 0.07), (29, 100, 0.29), (3, 300, 0.01), (57, 100, 0.57)])
def test_the_tolerance_is_the_decimal_number_that_was_written(lost, n, tolerance):
    """In floating point 7 lost of 100 can come out as more than 0.07."""
    assert judge(lost, 0, n, tolerance, 0.05, 0.0, 1.0) == "unchanged"
    assert judge(lost + 1, 0, n, tolerance, 0.05, 0.0, 1.0) == "regression"
    assert judge(0, lost, n, tolerance, 0.05, 1.0, 0.0) == "unchanged"
    assert judge(0, lost + 1, n, tolerance, 0.05, 1.0, 0.0) == "improved"


def test_significance_is_adjusted_for_the_number_of_comparisons():
    """p = 2^-5 = 0.031 would do alone, not among the two of clean and pgd."""
    now, before = only(attacks={PGD: bits(55)}), only()
    assert row(gate(now, before), label(PGD)).status == "unproven"
    alone = Policy(rules=(Rule(accuracy="clean", ignore=True),))
    assert row(gate(now, before, alone), label(PGD)).status == "regression"
    assert gate(now, before, Policy(alpha=0.07)).verdict == "failed"


def test_a_proven_gain_is_an_improvement_and_no_reason_to_fail():
    result = gate(only(attacks={PGD: bits(40)}), only())
    assert (result.verdict, row(result, label(PGD)).status) == ("passed", "improved")
    assert result.comparisons[-1].accuracy == label(PGD)
    assert len(found(result, "improved")) == 1


def test_losses_that_gains_make_up_for_are_no_regression_and_are_counted_both():
    now = only(attacks={PGD: bits(range(20, 70))})
    one = row(gate(now, only()), label(PGD))
    assert (one.lost, one.gained, one.status, one.difference) == (20, 20, "unchanged", 0.0)


def test_the_worst_comes_first():
    now = report(variant(clean=bits(14), attacks={FGSM: bits(60), PGD: bits(35), "x": bits(80)}))
    before = report(variant(clean=bits(10), attacks={FGSM: bits(40), PGD: bits(60), "x": bits(40)}))
    rows = [(c.title, c.status) for c in gate(now, before).comparisons]
    assert rows == [
        ("x 8/255", "regression"), ("fgsm 8/255", "regression"), ("worst case", "regression"), ("clean", "unproven"),
        ("pgd 8/255", "improved"),
    ]  # fmt: skip


def test_the_worst_case_is_taken_per_sample():
    """Both attacks keep their accuracy; together they leave less."""
    before = report(variant(attacks={FGSM: bits(50), PGD: bits(50)}))
    now = report(variant(attacks={FGSM: bits(50), PGD: bits(range(30, 80))}))
    one = row(gate(now, before), "worst-case")
    assert (one.before, one.now, one.status) == (0.5, 0.2, "regression")


def test_the_worst_case_of_one_attack_is_not_gated_twice():
    assert [c.accuracy for c in gate(only(), only()).comparisons] == ["clean", label(PGD)]


def test_a_new_attack_is_noted_and_leaves_the_worst_case_over_the_old_ones():
    now = report(variant(attacks={FGSM: bits(40), PGD: bits(50), "new": bits(99)}))
    result = gate(now, report(variant()))
    assert result.verdict == "passed"
    assert row(result, "worst-case").now == 0.5
    assert found(result, "new") == ["sample/running, new 8/255 is new: the baseline has no such attack"]


def test_a_new_variant_is_noted():
    result = gate(report(variant(), variant("stein")), report(variant()))
    assert result.verdict == "passed"
    assert found(result, "new") == ["stein/running is new: the baseline has no such variant"]


def test_a_missing_attack_fails():
    result = gate(report(variant(attacks={FGSM: bits(40)})), report(variant()))
    assert result.verdict == "failed"
    assert found(result, "missing") == ["sample/running, pgd 8/255: the attack is missing from the report"]


def test_a_missing_budget_of_an_attack_that_is_there_at_others_fails():
    both = {(PGD, 4 / 255): bits(30), (PGD, 8 / 255): bits(50)}
    now = only(attacks={(PGD, 4 / 255): bits(30)})
    assert found(gate(now, only(attacks=both)), "missing") == [
        "sample/running, pgd 8/255: the attack is missing from the report"
    ]


def test_a_missing_variant_fails():
    result = gate(report(variant()), report(variant(), variant("stein")))
    assert (result.verdict, found(result, "missing")) == (
        "failed", ["stein/running: the variant is missing from the report"]
    )  # fmt: skip


def test_a_variant_of_which_the_other_source_is_there_in_both_is_missing():
    """It was left out, not replaced."""
    result = gate(report(variant(stats="batch")), report(variant(), variant(stats="batch")))
    assert found(result, "missing") == ["sample/running: the variant is missing from the report"]


def test_a_skipped_attack_is_missing_where_the_baseline_has_it():
    skipped = attack(PGD, status="skipped", message="three classes have no targets")
    now = report(variant(attacks={FGSM: bits(40), PGD: skipped}))
    result = gate(now, report(variant()))
    assert result.verdict == "failed"
    assert found(result, "missing") == [
        "sample/running, pgd 8/255 has no result: skipped: three classes have no targets"
    ]
    assert gate(now, now).verdict == "passed"


def test_what_the_policy_ignores_may_be_missing():
    policy = Policy(rules=(Rule(accuracy="pgd", ignore=True), Rule(variant="stein/*", ignore=True)))
    before = report(variant(), variant("stein"))
    assert gate(report(variant(attacks={FGSM: bits(40)})), before, policy).verdict == "passed"


def test_floors_hold_whatever_the_baseline_says():
    weak = only(attacks={PGD: bits(70)})
    policy = Policy(rules=(Rule(accuracy="pgd", minimum=0.31),))
    result = gate(weak, weak, policy)
    assert result.verdict == "failed"
    assert found(result, "floor") == ["sample/running, pgd 8/255: 30.00 %, below the minimum of 31 %"]
    assert [(floor.value, floor.minimum, floor.held) for floor in result.floors] == [(0.3, 0.31, False)]
    held = gate(weak, weak, Policy(rules=(Rule(accuracy="pgd", minimum=0.3),)))
    assert (held.verdict, [floor.held for floor in held.floors]) == ("passed", [True])


def test_floors_hold_for_what_the_baseline_does_not_have_and_for_the_whole_worst_case():
    now = report(variant(attacks={FGSM: bits(40), PGD: bits(50), "new": bits(80)}))
    policy = Policy(rules=(Rule(accuracy="new", minimum=0.5), Rule(accuracy="worst-case", minimum=0.4)))
    assert found(gate(now, report(variant()), policy), "floor") == [
        "sample/running, new 8/255: 20.00 %, below the minimum of 50 %",
        "sample/running, worst case: 20.00 %, below the minimum of 40 %",
    ]


def test_a_floor_of_an_accuracy_without_a_result_is_missed():
    skipped = attack(PGD, status="skipped", message="no")
    now = report(variant(attacks={FGSM: bits(40), PGD: skipped}))
    result = gate(now, now, Policy(rules=(Rule(accuracy="worst-case", minimum=0.0),)))
    assert found(result, "floor") == ["sample/running, worst case: no result, below the minimum of 0 %"]


REFUSED = [
    (report(data="e"), "other data: digits test with 100 samples (eeeeeeeeeeee), not digits test"),
    (report(preset="published"), "other preset: published, not none"),
    (report(variant(ids="other")), "sample/running: other samples: the hashes of their ids differ"),
    (report(variant(stats="batch")), "other source of statistics: sample/batch, not sample/running"),
    (
        only(attacks={FGSM: bits(40), (PGD, 4 / 255): bits(30)}),
        f"sample/running: the attack has other parameters: {label(PGD, 4 / 255)}",
    ),
    (report(variant(attacks={FGSM: bits(40), PGD: attack(PGD)})), "the report: sample (running), pgd: failed: Runtime"),
    (
        report(variant(attacks={FGSM: bits(40), PGD: attack(PGD, bits(50), status="invalid", message="outside")})),
        "the report: sample (running), pgd: invalid: outside",
    ),
    (report(variant(), variant()), "the report: sample/running: there are 2 variants with this name"),
    (replaced(report(), variants=[]), "the report: it contains no variant, or a variant without samples"),
    (report(variant(clean=bits(0, 0), attacks={})), "the report: it contains no variant, or a variant without samples"),
]


@pytest.mark.parametrize(("now", "reason"), REFUSED)
def test_what_cannot_be_compared_honestly_is_refused_with_the_reason(now, reason):
    result = gate(now, report(variant()))
    assert result.verdict == "refused"
    assert result.comparisons == result.floors == ()
    assert any(message.startswith(reason) for message in found(result, "refused")), found(result, "refused")


def test_a_dishonest_baseline_is_refused_as_well():
    result = gate(report(), report(variant(attacks={PGD: attack(PGD)})))
    assert found(result, "refused")[0].startswith("the baseline: sample (running), pgd: failed")


def test_outputs_that_are_not_finite_are_refused():
    dishonest = variant()
    dishonest = replaced(dishonest, clean=replaced(dishonest.clean, nonfinite_outputs=3))
    assert found(gate(report(dishonest), report()), "refused") == [
        "the report: sample (running): 3 clean outputs are not finite"
    ]


def test_an_accuracy_that_its_outcomes_contradict_is_refused():
    """A report whose headline was edited, or whose outcomes were taken from another."""
    honest = variant()
    edited = replaced(honest, clean=replaced(honest.clean, accuracy=0.95))
    assert found(gate(report(edited), report(honest)), "refused") == [
        "the report: sample/running, clean: the accuracy 0.95 contradicts its own outcomes"
    ]
    robbed = replaced(honest, outcomes=replaced(honest.outcomes, robust={}))
    assert len(found(gate(report(robbed), report(honest)), "refused")) == 2
    without_draws = corruption("noise-gaussian:std=0.1", bits(0))
    without_draws = replaced(honest, corruptions=[replaced(without_draws, accuracies=())])
    assert found(gate(report(without_draws), report(honest)), "refused") == [
        "the report: sample/running, noise-gaussian:std=0.1: there is an accuracy but no per-sample outcomes"
    ]


def test_damaged_outcomes_are_an_input_error():
    broken = variant()
    broken = replaced(broken, outcomes=replaced(broken.outcomes, clean_correct="AAAA"))
    with pytest.raises(UsageError, match="the report, sample/running: packed outcomes hold 3 bytes"):
        gate(report(broken), report())


def test_when_everything_is_ignored_nothing_is_passed():
    result = gate(report(), report(), Policy(rules=(Rule(ignore=True),)))
    assert (result.verdict, len(found(result, "refused"))) == ("refused", 1)


def batch(wrong, size=10, n=200):
    right = bits(wrong, n)
    return report(variant(stats="batch", clean=bits(0, n), attacks={PGD: right}), config={"batch-size": size})


def test_under_batch_statistics_whole_batches_are_tested():
    """Thirty newly wrong samples in three of twenty batches prove nothing, one in each of twenty does."""
    clumped = gate(batch(30), batch(0))
    assert (clumped.verdict, row(clumped, label(PGD), "sample/batch").status) == ("passed", "unproven")
    spread = row(gate(batch(range(0, 200, 10)), batch(0)), label(PGD), "sample/batch")
    assert (spread.status, spread.p_drop, spread.assumes_independence) == ("regression", 2.0**-20, True)


def test_below_ten_batches_nothing_is_proven():
    result = gate(batch(200, 25), batch(0, 25))
    one = row(result, label(PGD), "sample/batch")
    assert (one.status, one.p_drop, one.p_drop_adjusted, one.detectable_drop) == ("unproven", None, None, None)
    assert result.tests == 0
    assert result.messages("warning")[0].endswith("(below 10 batches there is no test)")


def test_under_batch_statistics_the_batch_size_is_part_of_the_identity():
    assert found(gate(batch(0, 20), batch(0, 10)), "refused") == ["sample/batch: other batch size: 20, not 10"]
    for unknown in ({}, {"batch-size": "auto"}, {"batch-size": True}, {"batch-size": 0}):
        strange = replaced(batch(0), run=replaced(batch(0).run, config=unknown))
        assert "does not record the batch size" in found(gate(strange, batch(0)), "refused")[0]
    assert found(gate(batch(0, 1), batch(0, 1)), "refused") == []


def test_under_running_statistics_the_batch_size_makes_no_difference():
    assert gate(report(config={"batch-size": 7}), report(config={})).verdict == "passed"


def test_failed_diagnostics_warn_or_fail_or_are_ignored_by_policy():
    now = report(diagnostics=[diagnostic(), diagnostic("warn"), diagnostic("pass")])
    message = "diagnostic stronger failed: pgd is weaker than fgsm"
    result = gate(now, report())
    assert (result.verdict, result.messages("warning")) == ("passed", [message])
    strict = gate(now, report(), Policy(diagnostics="fail"))
    assert (strict.verdict, strict.messages("error")) == ("failed", [message])
    assert gate(now, report(), Policy(diagnostics="ignore")).findings == ()
    where = report(diagnostics=[diagnostic(variant="stein/running", attack="pgd")])
    assert "failed (stein/running, pgd):" in gate(where, report()).findings[0].message


def test_an_attack_network_that_differs_is_noted():
    one = report()
    how = AttackNetworkInfo(compile=True, precision="bf16", memory_format="contiguous")
    result = gate(replaced(one, run=replaced(one.run, attack_network=how)), one)
    message = "the attack network is bf16, compiled; in the baseline it is the evaluated model"
    assert (result.verdict, found(result, "note")) == ("passed", [message])


def test_what_may_explain_a_change_is_noted():
    result = gate(report(model="timm:resnet34", seed=1), report())
    assert found(result, "note") == [
        "the seed is 1; in the baseline it is 0", "the model is timm:resnet34; in the baseline it is timm:resnet18"
    ]  # fmt: skip


@pytest.mark.parametrize(("images", "drop"), [(4, None), (5, 0.01)])
def test_a_drop_of_miou_can_be_shown_of_five_images_or_more(images, drop):
    """If every image falls, p is 1/16 of four and 1/32 of five."""
    counts = np.full((images, 2), 5)
    clean = Segmented(ClassCounts(counts, counts, counts))
    one = variant(clean=bits(0, images), attacks={})
    one = replaced(one, outcomes=replaced(one.outcomes, clean_correct=None, **Segmented.packed(clean, {}, {})))
    whole = report(one)
    whole = replaced(whole, data=replaced(whole.data, task="segmentation"))
    assert gate(whole, whole).comparisons[0].detectable_drop == drop


def test_only_the_first_newly_broken_samples_are_listed():
    one = row(gate(only(attacks={PGD: bits(90)}), only(), Policy(list_samples=3)), label(PGD))
    assert (one.newly_broken, one.lost) == ((50, 51, 52), 40)


def test_the_policy_is_applied_per_variant_and_attack():
    now = report(variant(attacks={PGD: bits(60)}), variant("stein", attacks={PGD: bits(60)}))
    before = report(variant(attacks={PGD: bits(50)}), variant("stein", attacks={PGD: bits(50)}))
    policy = Policy(rules=(Rule(variant="stein/*", accuracy="pgd", tolerance=0.2),))
    statuses = {c.variant: c.status for c in gate(now, before, policy).comparisons if c.accuracy == label(PGD)}
    assert statuses == {"sample/running": "regression", "stein/running": "unchanged"}


def test_a_rule_about_nothing_is_refused_with_what_is_near():
    with pytest.raises(UsageError, match=r"rule 1 of the policy .*'pdg'.* matches nothing here. Did you mean 'pgd'"):
        gate(report(), report(), Policy(rules=(Rule(accuracy="pdg", minimum=0.3),)))


def test_the_reports_are_not_changed():
    now, before = report(), report(variant(attacks={FGSM: bits(30), PGD: bits(20)}))
    texts = now.to_json(), before.to_json()
    gate(now, before)
    assert (now.to_json(), before.to_json()) == texts
    assert np.all(bits(3)[3:])
