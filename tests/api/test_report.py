"""The report as Python programs use it: figures, outcomes, files, tables, notebooks."""

from __future__ import annotations

import builtins
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import stein_bench
from stein_bench import Report, UsageError
from stein_bench.report.results import Calibration, CommonCorruptions, CorruptionMean
from tests import reports
from tests.api.brightest import brightest, network
from tests.reports import bits, corruption, replaced

IMAGES, LABELS = brightest()


def margin(logits, labels):
    """Logit of the label minus the mean."""
    return logits.gather(1, labels[:, None])[:, 0] - logits.mean(dim=1)


@pytest.fixture(scope="module")
def report():
    return stein_bench.evaluate(
        network(), (IMAGES, LABELS), ["fgsm", "pgd:eps=2/255,steps=3", "pgd:steps=5", "noise-gaussian"], eps=4 / 255,
        bn=["sample", "stein"], stats=["running", "batch"], metrics=margin, progress=False,
    )  # fmt: skip


@pytest.mark.integration
def test_a_saved_report_is_read_back_equal_and_by_the_commands(report, tmp_path):
    report.save(tmp_path / "report.json")
    loaded = Report.load(tmp_path / "report.json")
    assert loaded == report
    assert type(loaded) is Report
    from stein_bench.report.document import read_report

    assert read_report(tmp_path / "report.json").to_json() == report.to_json()


def test_a_file_that_is_no_report_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UsageError, match=r"other\.json is not a report"):
        Report.load(tmp_path / "other.json")


def test_outcomes_are_those_behind_the_accuracies(report):
    for variant in report.variants:
        name = f"{variant.bn}/{variant.stats}"
        assert report.outcomes(name).mean() == variant.clean.accuracy
        worst = np.ones(60, bool)
        for attack in variant.attacks:
            found = report.outcomes(name, attack.label)
            assert found.dtype == np.bool_
            assert found.mean() == attack.robust_accuracy
            worst &= found
        assert np.array_equal(report.outcomes(name, "worst-case"), worst)


def test_variants_and_attacks_have_short_names_where_these_are_unambiguous(report):
    assert np.array_equal(report.outcomes(attack="fgsm"), report.outcomes("sample/running", "fgsm 4/255"))
    assert np.array_equal(report.outcomes("sample/running", "pgd 2/255"), report.outcomes(attack="pgd 2/255"))
    for call, message in [
        (lambda: report.outcomes("stein"), "variant 'stein' is ambiguous: name one of stein/running, stein/batch"),
        (lambda: report.outcomes("stien/running"), "unknown variant 'stien/running'. Did you mean 'stein/running'"),
        (lambda: report.outcomes(attack="pgd"), "attack 'pgd' is ambiguous: name one of pgd 2/255, pgd 4/255"),
        (lambda: report.outcomes(attack="fgms"), "unknown attack 'fgms'"),
    ]:
        with pytest.raises(UsageError, match=message):
            call()


def test_the_data_frame_has_a_row_for_every_figure_of_the_report(report):
    pandas = pytest.importorskip("pandas")
    frame = report.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    variant = report.variant("stein/batch")
    mine = frame[frame.variant == "stein/batch"].set_index("outcome")
    assert mine.loc["clean", "value"] == variant.clean.accuracy
    assert mine.loc["clean", "metric_margin"] == variant.clean.own_metrics["margin"].value
    for attack in variant.attacks:
        row = mine.loc[attack.label]
        assert (row["value"], row["low"], row["high"]) == (attack.robust_accuracy, *attack.ci95)
        assert (row["norm"], row["eps"], row["attack"]) == ("Linf", attack.eps, attack.name)
        assert row["metric_margin"] == attack.own_metrics["margin"].value
        assert (row["ece"], row["confidence"]) == (attack.calibration.ece, attack.calibration.confidence)
    assert mine.loc["clean", "ece_if_calibrated"] == variant.clean.calibration.ece_if_calibrated
    assert pandas.isna(mine.loc["worst-case", "ece"])
    assert mine.loc["worst-case", "value"] == variant.worst_case_accuracy
    assert mine.loc[variant.corruptions[0].label, "value"] == variant.corruptions[0].accuracy


def test_the_data_frame_has_every_cell_of_common_corruptions_with_its_calibration():
    pandas = pytest.importorskip("pandas")
    made = [
        corruption(
            f"fog:severity={level}", bits(10 * level),
            calibration=Calibration(
                predictions=100, accuracy=0.9, confidence=0.9, confidence_when_wrong=None, overconfidence=0.0,
                ece=level / 100, ece_if_calibrated=0.02,
            ),
        )
        for level in (1, 3)
    ]  # fmt: skip
    mean = CorruptionMean(severities=[1, 3], accuracies=[0.9, 0.7], accuracy=0.8, ci95=(0.7, 0.9))
    found = CommonCorruptions(corruptions={"fog": mean}, accuracy=0.8, ci95=(0.7, 0.9), standard=False)
    one = replaced(reports.variant(), corruptions=made, common_corruptions=found)
    frame = Report.of(reports.report(one)).to_dataframe().set_index("outcome")
    assert frame.index.is_unique
    assert frame.loc["corruptions/fog", "value"] == 0.8
    assert frame.loc["fog:severity=3", ["value", "ece", "attack"]].tolist() == [0.7, 0.03, "fog"]
    assert pandas.isna(frame.loc["corruptions/fog", "ece"])


def test_without_pandas_the_data_frame_says_what_to_install(report, monkeypatch):
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    real = builtins.__import__

    def absent(name, *rest, **named):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UsageError, match="pip install pandas"):
        report.to_dataframe()


def test_text_and_notebook_show_the_table_of_the_command(report, capsys):
    from stein_bench.render.report.table import print_report

    print_report(report)
    printed = capsys.readouterr().out
    first = report.summary().split("\n\n")[:3]  # the rest depends on the width
    assert [paragraph.split() for paragraph in first] == [part.split() for part in printed.split("\n\n")[:3]]
    assert str(report) == report.summary()
    page = report._repr_html_()
    shown = "".join(ElementTree.fromstring(page).itertext())
    for line in report.summary().splitlines():
        assert line.strip() in shown
    assert repr(report).startswith("<Report of Sequential on arrays, 60 samples: sample/running clean ")


def test_the_conclusion_and_its_caveats_are_those_of_the_table(report):
    text = " ".join(report.summary().split())
    assert " ".join(report.conclusion.split()) in text
    assert all(" ".join(caveat.split()) in text for caveat in report.caveats)


def test_a_failed_attack_has_no_outcomes_and_there_is_no_worst_case():
    def boom(model, inputs, labels):
        raise ValueError("no more")

    report = stein_bench.evaluate(network(), (IMAGES, LABELS), ["fgsm", boom], strict=False, progress=False)
    with pytest.raises(UsageError, match=r"no worst case: .*boom failed"):
        report.outcomes(attack="worst-case")
    name = report.variants[0].attacks[1].name
    with pytest.raises(UsageError, match=f"'{name}' has no outcomes: failed: .*ValueError: no more"):
        report.outcomes(attack=name)


def test_images_of_a_segmentation_are_not_right_or_wrong(tmp_path):
    from tests.street import write_tree

    class Pixels(torch.nn.Module):
        def forward(self, x):
            return torch.cat([x, x.repeat(1, 6, 1, 1)], dim=1)[:, :19]

    data = f"cityscapes:{write_tree(tmp_path, train=1, val=2)}"
    report = stein_bench.evaluate(Pixels(), data, "fgsm", progress=False, image_size=32)
    with pytest.raises(UsageError, match="graded, not right or wrong"):
        report.outcomes()
