"""Rows and words for common corruptions in every format."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from stein_bench.render.report.common import cells_text, mce_text, severities_text
from stein_bench.render.report.files import report_csv, report_markdown
from stein_bench.render.report.groups import group_grids
from stein_bench.render.report.outcomes import bar_groups, result_rows
from stein_bench.render.report.table import print_report
from stein_bench.report.results import CommonCorruptions, CorruptionMean, MeanCorruptionError
from tests.reports import bits, corruption, replaced, report, variant


def under(snow: int, mce: MeanCorruptionError | None = None):
    """A report under fog at five severities and snow at the first `snow` ones."""
    cells = [("fog", level) for level in range(1, 6)] + [("snow", level) for level in range(1, snow + 1)]
    made = [corruption(f"{name}:severity={level}", bits(10 * level)) for name, level in cells]
    shares = {"fog": [0.9, 0.8, 0.7, 0.6, 0.5], "snow": [0.9, 0.8, 0.7, 0.6, 0.5][:snow]}
    means = {
        name: CorruptionMean(
            severities=list(range(1, len(own) + 1)), accuracies=own, accuracy=sum(own) / len(own), ci95=(0.4, 0.9),
            corruption_error=None if mce is None else 1.25,
        )
        for name, own in shares.items()
    }  # fmt: skip
    found = CommonCorruptions(corruptions=means, accuracy=0.7, ci95=(0.6, 0.8), standard=False, mce=mce)
    return report(replaced(variant("sample", "running"), corruptions=made, common_corruptions=found))


def printed(one) -> str:
    stream = io.StringIO()
    print_report(one, Console(file=stream, width=80))
    return stream.getvalue()


def test_few_have_a_row_each_and_many_share_one() -> None:
    few, many = printed(under(1)), printed(under(2))
    assert few.count("fog†") == 5
    assert "corruptions†" not in few
    assert "fog†" not in many
    row = next(line.split() for line in many.splitlines() if "corruptions†" in line)
    assert row[:6] == ["corruptions†", "mean", "7", "cells", "70.0", "(60.0–80.0)"]
    assert max(map(len, many.splitlines())) <= 80


def test_rows_are_what_is_compared_and_the_grid_has_every_cell() -> None:
    one = under(2)
    rows = {row.accuracy: row.title for row in result_rows(one)}
    assert rows["corruptions"] == "mean of 2 corruptions at different severities (not attacks)"
    assert rows["corruptions/fog"] == "fog, severities 1 to 5 (not an attack)"
    assert rows["corruptions/snow"] == "snow, severities 1+2 (not an attack)"
    assert not any("fog" in group for group in bar_groups([("", row) for row in result_rows(one)])[0])
    markdown = report_markdown([("r", one)])
    assert "| fog | 90.0 (" in markdown
    assert "sample/running, corrupted: accuracy % by corruption and severity" in markdown
    groups = [row["group"] for row in csv.DictReader(io.StringIO(report_csv([("r", one)])))]
    assert [group for group in groups if group] == [*(f"fog/{n}" for n in range(1, 6)), "snow/1", "snow/2"]


def failing(snow: int, *failed: str):
    """The report of `under` with some failed cells, and so without means."""
    one = under(snow)
    (first,) = one.variants
    made = [
        replaced(c, status="failed", message="no", accuracy=None, ci95=None, accuracies=None, worst_accuracy=None)
        if f"{c.name}/{c.params['severity']}" in failed
        else c
        for c in first.corruptions
    ]
    return replaced(one, variants=[replaced(first, corruptions=made, common_corruptions=None)])


def test_a_mean_needs_all_of_its_cells() -> None:
    one = failing(5, "fog/3")
    (grid,) = group_grids(one, intervals=False, everything=False)
    assert grid.rows == (
        ("fog", "90.0", "80.0", "–", "60.0", "50.0", "–"),
        ("snow", "90.0", "80.0", "70.0", "60.0", "50.0", "70.0"),
        ("mean", "90.0", "80.0", "–", "60.0", "50.0", "–"),
    )
    assert "a mean needs all of its corruptions and severities: where one has failed there is none" in " ".join(
        printed(one).split()
    )
    rows = list(csv.DictReader(io.StringIO(report_csv([("r", one)]))))
    assert len([row for row in rows if row["group"]]) == 9
    assert [(row["accuracy"], row["status"]) for row in rows if "severity" in row["accuracy"]] == [
        ("fog:severity=3", "failed")
    ]
    assert "a mean needs all" not in printed(under(5))


def test_beside_a_failed_corruption_the_few_others_have_their_rows() -> None:
    one = failing(1, *(f"fog/{level}" for level in range(1, 6)))
    rows = {row.accuracy: row.figure and row.figure.value for row in result_rows(one)}
    assert rows["snow:severity=1"] == 0.9
    assert rows["fog:severity=1"] is None
    assert "| snow 1 (corruption, not an attack) | 90.0 (" in report_markdown([("r", one)])


def test_mce_is_told_with_its_baseline_and_corruption_errors_have_a_column() -> None:
    mce = MeanCorruptionError(baseline="resnet18, sample/running", baseline_run="x", mce=1.25, relative_mce=None)
    text = " ".join(printed(under(2, mce)).split())
    assert (
        "sample/running: mCE 125.0 %, relative mCE – (the baseline's error does not rise under each of them), of the "
        "errors of resnet18, sample/running (100 %)"
    ) in text
    assert mce_text(mce, archive=True).startswith("mCE 125.0 %, relative mCE – (the clean images are not known), of")
    assert "CE %" in text
    assert "--mce-baseline" not in text
    assert "mCE is relative to a baseline's errors (--mce-baseline)" in " ".join(printed(under(2)).split())


@pytest.mark.parametrize(
    ("severities", "text"), [([3], "severity 3"), ([1, 3], "severities 1+3"), ([1, 2, 3, 4, 5], "severities 1 to 5")]
)
def test_severities_in_words(severities: list[int], text: str) -> None:
    assert severities_text(severities) == text
    mean = CorruptionMean(severities=severities, accuracies=[0.5] * len(severities), accuracy=0.5, ci95=(0.4, 0.6))
    found = CommonCorruptions(corruptions={"fog": mean, "snow": mean}, accuracy=0.5, ci95=(0.4, 0.6), standard=False)
    assert cells_text(found) == f"2 corruptions at {text}"
