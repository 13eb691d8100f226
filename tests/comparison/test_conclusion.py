"""The sentence of a report: only what its numbers support, and what stands in the way is said."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.contrasts import contrasts, marks
from stein_bench.report.results import AdaptiveInfo, CommonCorruptions, CorruptionMean, WeightsInfo
from stein_bench.statistics.paired_tests import holm, paired
from tests.reports import FGSM, PGD, attack, bits, corrupted, diagnostic, doubtful, label, replaced, report, variant

CLEAN = bits(2, 400)


STATS_AND_BROKEN = (("running", 200), ("batch", 120))


def pair(own, plain=200, bn="stein", stats="running", clean=CLEAN, **changes):
    """Plain BN that has `plain` of 400 samples broken by PGD, and a variant that has `own`."""
    fields = {"conversion": "before-training", "converted_layers": 20, **changes}
    first = variant("sample", stats, CLEAN, {FGSM: bits(50, 400), PGD: bits(plain, 400)})
    second = variant(bn, stats, clean, {FGSM: bits(50, 400), PGD: bits(own, 400)}, **fields)
    return first, second


def sentence(*variants, **changes):
    return conclude(report(*variants, **changes)).sentence


def test_a_significant_gain_is_told_with_its_figures():
    assert sentence(*pair(150)) == (
        "Under running statistics the network with stein has the higher worst-case accuracy over 2 attacks: 62.5 % "
        "against 50.0 % with plain BN (+12.5 (+9.2, +15.7) points, 95 % interval, adjusted p <0.001)."
    )
    assert "has the lower worst-case accuracy" in sentence(*pair(250))


def test_one_network_per_estimator_is_always_a_reservation():
    assert "due to the training seed" in conclude(report(*pair(150))).caveats[0]
    assert conclude(report(*pair(150, conversion="after-training"))).caveats == ()
    assert "converted to stein after training has" in sentence(*pair(150, conversion="after-training"))


def test_what_is_not_significant_is_no_difference_and_no_equality():
    said = sentence(*pair(198))
    assert said.startswith("No difference is shown between stein and plain BN under running statistics:")
    assert "adjusted p 1.000" in said


def test_the_p_is_adjusted_for_every_contrast_of_the_report():
    """Five samples lost alone: p = 1/16 unadjusted in two-sided form; six: 1/32, which four tests make 1/8."""
    found = contrasts(report(*pair(194)))
    assert [c.accuracy for c in found] == ["clean", label(FGSM), label(PGD), "worst-case"]
    raw = [paired(CLEAN, CLEAN).p, 1.0, 2 / 2**6, 2 / 2**6]
    assert [c.difference.p_adjusted for c in found] == pytest.approx(holm(raw))
    assert not found[3].difference.significant
    assert "No difference is shown" in sentence(*pair(194))


def test_a_gain_below_chance_makes_nobody_robust():
    assert "both are at or below chance (10.0 %), so neither withstands these attacks" in sentence(*pair(370, 400))
    assert "chance" not in sentence(*pair(150, 370))


def test_what_a_gain_costs_in_clean_accuracy_is_in_the_sentence():
    first = variant("sample", "running", bits(0, 400), {FGSM: bits(300, 400), PGD: bits(300, 400)})
    lost = bits(range(360, 400), 400)
    second = variant("stein", "running", lost, {FGSM: bits(100, 400) & lost, PGD: bits(100, 400) & lost})
    assert "with −10.0 points of clean accuracy." in sentence(first, second)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"diagnostics": [diagnostic(name="clean-accuracy", variant="stein/running")]},
            "its clean accuracy has collapsed",
        ),
        (
            {"diagnostics": [diagnostic(name="clean-accuracy", variant="sample/running")]},
            "the clean accuracy of plain BN has collapsed",
        ),
        ({"diagnostics": [diagnostic(name="input-gradients", variant="stein/running")]}, "failed (input-gradients)"),
        ({"diagnostics": [diagnostic(name="larger-eps", variant="sample/running")]}, "failed (larger-eps)"),
        ({"preset": "published"}, "the preset published is confounded"),
    ],
)
def test_what_forbids_a_comparison_is_said_instead(changes, reason):
    said = sentence(*pair(150), **changes)
    assert said.startswith("No conclusion about stein under running statistics: ")
    assert reason in said


def test_without_plain_bn_under_the_same_statistics_there_is_no_comparison():
    first, second = pair(150)
    said = sentence(first, replaced(second, stats="batch"))
    assert said == (
        "No conclusion about stein under batch statistics: there is no plain BN under batch statistics to compare "
        "it with."
    )


def test_a_preserved_function_is_no_result():
    assert "the same function as the network it was converted from" in sentence(*pair(150, function_preserved=True))


def test_batch_statistics_flip_whole_batches_and_below_ten_there_is_no_test():
    few = {"config": {"batch-size": 100}}
    assert "fewer than ten batches there is no test" in sentence(*pair(150, stats="batch"), **few)
    depends = [diagnostic(name="batch-dependence", variant="stein/batch")]
    concluded = conclude(report(*pair(100, stats="batch"), diagnostics=depends))
    assert concluded.sentence.startswith("Under batch statistics the network with stein has the higher")
    assert "stein/batch: its verdicts hold only for these exact batches" in concluded.caveats


def test_an_untrustworthy_report_has_no_conclusion():
    first, second = pair(150)
    assert sentence(first, doubtful(second)).startswith(
        "No conclusion: a result cannot be trusted (stein (running), pgd:"
    )
    assert " more" not in sentence(first, doubtful(second))
    assert sentence(doubtful(first), doubtful(second)).endswith(", and 1 more).")


def test_weights_that_nobody_named_are_a_reservation_and_a_useless_network_has_no_conclusion():
    none = [replaced(one, weights=WeightsInfo(kind="none", sha256="a" * 64)) for one in pair(150)]
    assert any(line.startswith("weights: none") for line in conclude(report(*none)).caveats)
    lost = [diagnostic(name="clean-accuracy", variant=f"{bn}/running") for bn in ("sample", "stein")]
    assert "every clean accuracy has collapsed" in sentence(*none, diagnostics=lost)


def test_one_step_alone_shows_no_robustness():
    one = [
        variant(bn, clean=CLEAN, attacks={FGSM: bits(wrong, 400)}) for bn, wrong in (("sample", 200), ("stein", 100))
    ]
    assert sentence(*one) == (
        "No conclusion about robustness: no iterated white-box attack was run, and fgsm alone shows little."
    )
    assert "no iterated white-box attack was run" in sentence(one[0])


def test_one_variant_has_at_most_what_attacks_left():
    said = sentence(variant(clean=CLEAN, attacks={FGSM: bits(50, 400), PGD: bits(200, 400)}))
    assert said == (
        "timm:resnet18: 99.5 % clean, at most 50.0 % (45.1–54.9) worst-case accuracy over 2 attacks, with running "
        "statistics."
    )
    failed = diagnostic(name="unbounded-attack", variant="sample/running")
    assert "failed sanity checks (unbounded-attack) indicate that it may be far lower" in sentence(
        variant(), diagnostics=[failed]
    )
    adaptive = AdaptiveInfo(
        attack="adaptive", hidden=True, probed=9, tried=[], used=[], differs_with_gradients=False, logits_before="",
        replaced=[], robust_accuracy=0.5,
    )  # fmt: skip
    assert "(unbounded-attack) indicate that it may be too high even with the adaptive attack" in sentence(
        variant(adaptive=[adaptive]), diagnostics=[failed]
    )
    broken = variant(attacks={PGD: bits(400, 400)}, clean=CLEAN)
    assert "sanity checks" not in sentence(broken, diagnostics=[failed])
    assert sentence(variant(attacks={})).endswith("no attack was run.")
    fog = CorruptionMean(severities=[1, 3], accuracies=[0.7, 0.5], accuracy=0.6, ci95=(0.5, 0.7))
    common = CommonCorruptions(corruptions={"fog": fog}, accuracy=0.6, ci95=(0.5, 0.7), standard=False)
    made = corrupted(variant(attacks={}), {"fog:severity=1": bits(30), "fog:severity=3": bits(50)})
    fogged = replaced(made, common_corruptions=common)
    told = "90.0 % clean and 60.0 % under fog at severities 1, 3 with running statistics; no attack was run."
    assert sentence(fogged).endswith(told)


def test_several_variants_are_told_in_one_sentence():
    plain, better = pair(150)
    worse, same = pair(250, bn="jsnorm")[1], pair(199, bn="ridge:0.001")[1]
    lost = pair(100, bn="stein-mean")[1]
    checks = [diagnostic(name="clean-accuracy", variant="stein-mean/running")]
    assert sentence(plain, better, worse, same, lost, diagnostics=checks) == (
        "In the worst case, compared with plain BN under the same statistics, "
        "significantly higher: stein (+12.5 points, adjusted p <0.001); significantly lower: jsnorm (−12.5 points, "
        "adjusted p <0.001); "
        "no difference shown: ridge:0.001 (+0.2 points); no conclusion: stein-mean (its clean accuracy has collapsed)."
    )


def test_several_variants_at_chance_are_said_to_be_there():
    plain, better = pair(380, 365)
    far = pair(390, 365, bn="jsnorm")[1]
    told = sentence(plain, better, far)
    assert "stein (" in told
    assert told.count("both at or below chance, so neither withstands these attacks") == 2


def test_the_best_and_the_significant_are_marked_within_one_source_of_statistics():
    plain, better = pair(150)
    found = marks(one := report(plain, better, *pair(120, stats="batch")), contrasts(one))
    assert found["stein/running", "worst-case"] == "best-above"
    assert found["stein/batch", "worst-case"] == "best-above"
    assert ("stein/running", "clean") not in found  # a tie has no best
    down = report(*pair(250))
    assert marks(down, contrasts(down))["stein/running", "worst-case"] == "below"
    assert marks(down, contrasts(down))["sample/running", "worst-case"] == "best"
    lost = report(*pair(150), diagnostics=[diagnostic(name="clean-accuracy", variant="stein/running")])
    assert marks(lost, contrasts(lost))["stein/running", "worst-case"] == "above"


def test_a_failed_attack_is_left_out_of_the_contrasts():
    first, _ = pair(150)
    broken = variant("stein", clean=CLEAN, attacks={FGSM: bits(50, 400), PGD: attack(PGD)})
    assert [c.accuracy for c in contrasts(report(first, broken))] == ["clean", label(FGSM)]


def test_the_source_of_statistics_is_no_merit_of_an_estimator():
    from stein_bench.diagnostics.effects import with_effects

    running, batch = pair(150), pair(100, 120, stats="batch")
    variants = with_effects([*running, *batch], 10, "classification")
    said = " ".join(conclude(report(*variants)).caveats)
    assert "switching from running to batch statistics alone changes plain BN's robust accuracy by +20.0 points" in said
    assert np.isclose(variants[1].effects[-3].difference, 0.2)


def test_of_a_single_attack_the_source_of_statistics_is_that_attacks():
    from stein_bench.diagnostics.effects import with_effects

    plain = [variant("sample", stats, CLEAN, {PGD: bits(broken, 400)}) for stats, broken in STATS_AND_BROKEN]
    own = [variant("stein", stats, CLEAN, {PGD: bits(broken, 400)}) for stats, broken in STATS_AND_BROKEN]
    said = " ".join(conclude(report(*with_effects([*plain, *own], 10, "classification"))).caveats)
    assert "changes plain BN's robust accuracy by +20.0 points" in said


@pytest.mark.parametrize(("better", "told"), [((FGSM,), "a single attack"), ((FGSM, "cw"), "2 single attacks")])
def test_what_is_significant_under_an_attack_but_not_in_the_worst_case_is_a_caveat(better, told):
    strongest = {PGD: bits(300, 400)}
    first = variant("sample", clean=CLEAN, attacks={**{name: bits(200, 400) for name in better}, **strongest})
    second = variant("stein", clean=CLEAN, attacks={**{name: bits(50, 400) for name in better}, **strongest})
    caveats = conclude(report(first, second)).caveats
    assert f"significant under {told} (marked), but not in the worst case" in caveats


def test_with_controls_no_cell_is_picked_out():
    running, batch = pair(150), pair(320, 200, stats="batch")
    variants = [batch[1], *(replaced(v, control=True) for v in (*running, batch[0]))]
    assert sentence(*variants) == (
        "In the worst case, compared with plain BN under the same statistics, "
        "significantly higher: stein/running (+12.5 points, adjusted p <0.001); significantly lower: stein/batch "
        "(−30.0 points, adjusted p 0.003)."
    )


def test_how_strong_an_attack_of_the_users_own_is_cannot_be_known():
    found = variant(clean=CLEAN, attacks={FGSM: bits(50, 400), "mine.py:mine": bits(200, 400)})
    attacks = [a.model_copy(update={"backend": "own"}) if ":" in a.name else a for a in found.attacks]
    assert sentence(replaced(found, attacks=attacks)).endswith(
        "no iterated white-box attack known to be strong was run, and fgsm alone shows little, and the strength of "
        "mine.py:mine is not known here."
    )
