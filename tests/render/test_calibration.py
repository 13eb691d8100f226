"""Confidence and calibration in every format."""

from __future__ import annotations

import csv
import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from stein_bench.render.report.calibration import CALIBRATION, calibration_cells
from stein_bench.render.report.files import CSV_COLUMNS, report_csv, report_markdown
from stein_bench.render.report.page import Source, html_page
from stein_bench.render.report.table import print_report
from stein_bench.report.results import Calibration, CommonCorruptions, CorruptionMean, CorruptionResult
from stein_bench.trackers.runs import tracked_runs
from tests.reports import bits, in_cells, label, replaced, report, variant


def calibrated(accuracy=0.9, confidence=0.95, wrong=0.7, ece=0.06, expected=0.02):
    return Calibration(
        predictions=100, accuracy=accuracy, confidence=confidence, confidence_when_wrong=wrong,
        overconfidence=confidence - accuracy, ece=ece, ece_if_calibrated=expected,
    )  # fmt: skip


def corruption(number, found, accuracy=0.6):
    return CorruptionResult(
        name="noise-gaussian", params={"std": number / 10, "seeds": 1}, label=f"noise-gaussian:std={number / 10}",
        status="ok", message="", accuracy=accuracy, ci95=(0.5, 0.7), calibration=found, assumes_independence=False,
        accuracies=[accuracy], worst_accuracy=accuracy, worst_ci95=(0.5, 0.7), forward_passes=100, seconds=1.0,
    )  # fmt: skip


def known(bn="sample", stats="running", corruptions=0, **changes):
    """A variant with calibrations: clean, under two attacks and under corruptions."""
    one = variant(bn, stats, clean=bits(10), **changes)
    found = [calibrated(0.6, 0.8, 0.75, 0.2, 0.03), calibrated(0.5, 0.92, 0.91, 0.42, 0.04)]
    attacks = [replaced(attack, calibration=c) for attack, c in zip(one.attacks, found, strict=True)]
    noise = [
        corruption(n, calibrated(n / 10, 0.8, None if n == 1 else 0.7, n / 100)) for n in range(1, corruptions + 1)
    ]
    return replaced(one, clean=replaced(one.clean, calibration=calibrated()), attacks=attacks, corruptions=noise)


def table(one, width=80):
    stream = io.StringIO()
    print_report(one, Console(file=stream, width=width))
    text = stream.getvalue()
    assert max(map(cell_len, text.splitlines())) <= max(width, 80)
    assert "…" not in text
    return text


def flat(text):
    return " ".join(text.split())


def test_the_table_follows_the_results_with_a_row_for_every_outcome():
    text = table(report(known(corruptions=2)))
    assert text.index("robust %") < text.index("Confidence and calibration, %")
    found = [line.split() for line in text[text.index("Confidence and") :].splitlines()]
    assert ["sample", "clean", "90.0", "95.0", "70.0", "6.0", "2.0"] in found
    assert ["fgsm", "8/255", "60.0", "80.0", "75.0", "20.0", "3.0"] in found
    assert ["pgd", "8/255", "50.0", "92.0", "91.0", "42.0", "4.0"] in found
    assert ["gaussian", "0.1", "10.0", "80.0", "–", "1.0", "2.0"] in found
    assert ["gaussian", "0.2", "20.0", "80.0", "70.0", "2.0", "2.0"] in found
    assert flat(text).count(flat(CALIBRATION)) == 1


@pytest.mark.parametrize("bn", ["sample", "james-stein", "lasso:0.00123"])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_80_columns_with_long_names_and_both_statistics(bn, width):
    attacks = {"torchattacks.AutoAttack": bits(40), ("fast-ensemble", 254 / 255): bits(50)}
    one = report(known(bn, attacks=attacks), known(bn, "batch", attacks=attacks, control=True))
    full = replaced(one.variants[0].clean.calibration, accuracy=1.0, confidence=1.0, confidence_when_wrong=1.0)
    everywhere = [replaced(v, clean=replaced(v.clean, calibration=full)) for v in one.variants]
    text = table(replaced(one, variants=everywhere), width)
    assert sum(line.split().count("100.0") == 3 for line in text.splitlines()) == 2
    assert "254/255" in flat(text)


def weather(snow):
    """A variant under fog at five severities, under snow at the first `snow` ones, and under one noise."""
    one = known(corruptions=8)
    cells = [("fog", n) for n in range(1, 6)] + [("snow", n) for n in range(1, snow + 1)]
    common = [
        replaced(found, name=name, params={"severity": n}, label=f"{name}:severity={n}")
        for (name, n), found in zip(cells, one.corruptions, strict=False)
    ]
    means = {
        name: CorruptionMean(
            severities=list(range(1, count + 1)), accuracies=[0.6] * count, accuracy=0.6, ci95=(0.5, 0.7)
        )
        for name, count in (("fog", 5), ("snow", snow))
    }
    found = CommonCorruptions(corruptions=means, accuracy=0.6, ci95=(0.5, 0.7), standard=False)
    return replaced(one, corruptions=[*common, one.corruptions[-1]], common_corruptions=found)


def test_many_common_corruptions_are_one_row_with_their_means_without_the_noises():
    assert len(calibration_cells(report(weather(1)))[1]) == 3 + 6 + 1
    _, cells = calibration_cells(report(weather(2)))
    assert len(cells) == 3 + 1 + 1
    # accuracies of 10 to 70 %, the first one without a wrong prediction
    assert cells[-2] == ["sample/running", "corruptions, 7 cells", "40.0", "80.0", "70.0", "4.0", "2.0"]
    assert cells[-1][1] == "gaussian 0.8"


def test_the_csv_has_the_calibration_of_every_cell_of_common_corruptions():
    rows = list(csv.DictReader(io.StringIO(report_csv([("r", report(weather(2)))]))))
    cells = {row["group"]: (row["ece"], row["confidence_when_wrong"]) for row in rows if row["group"]}
    assert cells == {f"fog/{n}": (str(n / 100), "" if n == 1 else "0.7") for n in range(1, 6)} | {
        "snow/1": ("0.06", "0.7"), "snow/2": ("0.07", "0.7"),
    }  # fmt: skip


def test_without_calibration_nothing_is_said():
    one = report(variant())
    for text in (table(one), report_markdown([("r", one)]), html_page([Source("r", one)])):
        assert "alibrat" not in text
    assert report_csv([("r", one)]).splitlines()[0] == ",".join(CSV_COLUMNS)


def test_the_page_and_markdown_have_the_table_and_what_it_means():
    one = report(known(corruptions=1))
    markdown = report_markdown([("r", one)])
    assert "| sample/running | pgd 8/255 | 50.0 | 92.0 | 91.0 | 42.0 | 4.0 |" in markdown
    assert "ECE if calibrated" in markdown
    page = html_page([Source("r", one)])
    assert ">Confidence and calibration</h2>" in page
    assert '<td>pgd 8/255</td><td class="number">50.0</td><td class="number">92.0</td>' in page


def test_the_csv_has_columns_in_full_beside_the_accuracies_and_group_stays_the_last():
    first, *_ = one = [known(corruptions=7), variant("stein")]
    (header, *found) = csv.reader(io.StringIO(report_csv([("r", report(*one))])))
    assert tuple(header[: len(CSV_COLUMNS)]) == CSV_COLUMNS
    by_outcome = {(row[3], row[5]): dict(zip(header, row, strict=True)) for row in found}
    pgd = by_outcome["sample/running", label("pgd")]
    assert (pgd["confidence"], pgd["ece"], pgd["ece_if_calibrated"]) == ("0.92", "0.42", "0.04")
    assert by_outcome["sample/running", "noise-gaussian:std=0.1"]["confidence_when_wrong"] == ""
    assert by_outcome["sample/running", "noise-gaussian:std=0.7"]["ece"] == "0.07"
    assert by_outcome["sample/running", "worst-case"]["ece"] == ""
    assert by_outcome["stein/running", "clean"]["ece"] == ""
    grouped = in_cells(first, "fog/1", "fog/2")
    (header, *found) = csv.reader(io.StringIO(report_csv([("r", report(grouped))])))
    assert header[-1] == "group"
    assert header[-2] == "ece_if_calibrated"
    assert {row[-1] for row in found} == {"", "fog/1", "fog/2"}
    assert all(len(row) == len(header) for row in found)
    assert all(row[-2] == "" for row in found if row[-1])


def test_trackers_get_the_figures_that_exist():
    (run,) = tracked_runs(report(known(corruptions=1)))
    assert run.metrics["clean/calibration error"] == 0.06
    assert run.metrics["clean/calibration error if calibrated"] == 0.02
    assert run.metrics["attacked mean confidence when wrong/pgd 8/255"] == 0.91
    assert run.metrics["corrupted mean confidence/noise-gaussian 0.1"] == 0.8
    assert "corrupted mean confidence when wrong/noise-gaussian 0.1" not in run.metrics
    (without,) = tracked_runs(report(variant()))
    assert not any("calibration" in name or "confidence" in name for name in without.metrics)
