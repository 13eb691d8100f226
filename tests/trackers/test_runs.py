"""A report as runs: every number with its interval, and a text instead of a number that does not exist."""

from __future__ import annotations

import json

from stein_bench.report.results import CommonCorruptions, ExpectedAccuracy, Figure
from stein_bench.trackers.runs import slug, tracked_runs
from tests import reports


def test_there_is_a_run_per_variant_in_the_group_of_its_report():
    one = reports.report(reports.variant(), reports.variant("stein"))
    first, second = tracked_runs(one)
    assert (first.name, second.name) == ("timm:resnet18 sample/running", "timm:resnet18 stein/running")
    assert first.group == second.group
    assert first.group != tracked_runs(reports.report(number=1).model_copy(update={"run": _renamed(one.run)}))[0].group
    assert json.loads(first.report)["run"]["id"] == one.run.id


def _renamed(run):
    return run.model_copy(update={"id": "11111111-0000-4000-8000-000000000000"})


def test_accuracies_have_their_intervals():
    one = reports.variant(attacks={("pgd", 1 / 255): reports.bits(30), ("pgd", 8 / 255): reports.bits(50)})
    (run,) = tracked_runs(reports.report(one))
    assert run.metrics["clean/accuracy"] == 0.9
    assert run.metrics["robust accuracy/pgd 1/255"] == 0.7
    assert run.metrics["robust accuracy/pgd 8/255"] == 0.5
    assert run.metrics["worst-case/accuracy"] == 0.5
    low, high = one.attacks[1].ci95
    assert run.metrics["robust accuracy/pgd 8/255 low"] == low
    assert run.metrics["robust accuracy/pgd 8/255 high"] == high
    assert run.texts == {}
    assert run.tags == ()


def test_a_result_that_cannot_be_trusted_is_a_text_and_no_number():
    failed = reports.variant(attacks={"fgsm": reports.attack("fgsm"), "pgd": reports.bits(50)})
    invalid = reports.doubtful(reports.variant("stein"))
    without, doubtful = tracked_runs(reports.report(failed, invalid))
    assert without.texts["robust accuracy/fgsm 8/255"] == "failed: RuntimeError: no memory"
    assert without.texts["worst-case/accuracy"] == "no number: fgsm 8/255"
    assert "robust accuracy/pgd 8/255" in without.metrics
    assert doubtful.texts["robust accuracy/pgd 8/255"] == "invalid: 2 inputs are outside"
    assert "worst-case/accuracy" in doubtful.texts
    assert not {*without.texts} & {*without.metrics}
    assert not {*doubtful.texts} & {*doubtful.metrics}
    assert "stein (running), pgd: invalid" in doubtful.texts["untrustworthy"]
    assert "untrustworthy" in doubtful.tags


def test_a_failed_check_is_a_tag_of_its_variant_only():
    checks = [
        reports.diagnostic(variant="stein/running"),
        reports.diagnostic("warn", name="other"),
        reports.diagnostic(name="of-all", attack="pgd"),
    ]
    plain, stein = tracked_runs(reports.report(reports.variant(), reports.variant("stein"), diagnostics=checks))
    assert plain.tags == ("failed check/of-all pgd",)
    assert stein.tags == ("failed check/stronger", "failed check/of-all pgd")
    assert stein.texts["check/stronger"] == "pgd is weaker than fgsm"


def test_metrics_and_expected_accuracies_are_logged_beside_the_accuracy():
    one = reports.variant()
    expected = ExpectedAccuracy(value=0.8, ci95=(0.7, 0.9), draws=10)
    figures = {"auc": Figure(value=0.75, ci95=(0.6, 0.85)), "f1": Figure(value=None, ci95=None)}
    clean = reports.replaced(one.clean, expected_accuracy=expected, metrics=figures)
    (run,) = tracked_runs(reports.report(reports.replaced(one, clean=clean)))
    assert run.metrics["clean/expected accuracy low"] == 0.7
    assert run.metrics["clean/auc"] == 0.75
    assert run.metrics["clean/auc high"] == 0.85
    assert not any("f1" in key for key in run.metrics)


def test_the_mean_under_corruptions_has_the_name_of_its_measure():
    """Of a segmentation it is a mean of mIoUs."""
    mean = CommonCorruptions(corruptions={}, accuracy=0.3, ci95=(0.2, 0.4), standard=False)
    one = reports.replaced(reports.variant(), common_corruptions=mean)
    (run,) = tracked_runs(reports.report(one))
    assert run.metrics["corrupted accuracy/mean"] == 0.3
    dense = reports.replaced(one, clean=reports.replaced(one.clean, metrics={"miou": Figure(value=0.5, ci95=None)}))
    (run,) = tracked_runs(reports.report(dense))
    assert run.metrics["corrupted miou/mean"] == 0.3
    assert "corrupted accuracy/mean" not in run.metrics


def test_parameters_say_what_was_evaluated():
    (run,) = tracked_runs(reports.report(config={"model": "resnet18", "eps": [0.1, 0.2]}, seed=3))
    assert run.params["config.eps"] == "[0.1, 0.2]"
    assert run.params["seed"] == "3"
    assert run.params["weights sha256"] == "a" * 64
    assert run.params["data sha256"] == "d" * 64
    assert "preset" not in run.params


def test_a_slug_is_a_name_on_every_system():
    assert slug("timm:resnet18 on a/b: c") == "timm-resnet18-on-a-b-c"
    assert slug("../..") == "run"
