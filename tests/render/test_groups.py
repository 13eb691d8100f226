"""Results by corruption and severity in every format."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from rich.console import Console

from stein_bench.render.report.files import CSV_COLUMNS, report_csv, report_markdown
from stein_bench.render.report.groups import group_grids
from stein_bench.render.report.page import Source, html_page
from stein_bench.render.report.table import print_report
from stein_bench.report.document import Report
from stein_bench.report.results import CommonCorruptions, CorruptionMean, MeanCorruptionError
from tests.reports import FGSM, PGD, in_cells, replaced, report, variant

IMAGES = 12


def corrupted(severities: int = 5, samples: int | None = None, stats: str = "running") -> Report:
    """Twelve base images in three corruptions: the higher the severity, the more of them are wrong."""
    cells = tuple(
        f"{name}/{level + 1}" for name in ("shot_noise", "fog", "jpeg_compression") for level in range(severities)
    )
    wrong = np.array([corruption + level for corruption in range(3) for level in range(severities)])
    clean, pgd = ((np.arange(IMAGES)[:, None] >= wrong + more).ravel()[:samples] for more in (0, 3))
    fgsm = pgd | (np.arange(pgd.size) % 7 == 0) & clean
    made = in_cells(variant("sample", stats, clean, {FGSM: fgsm, PGD: pgd}), *cells)
    notes = ["the images are corrupted already: 'clean' means unattacked"]
    one = report(made)
    data = replaced(one.data, name="cifar10-c", grouped_by=("corruption", "severity"), notes=notes)
    return replaced(one, data=data)


def table(one: Report) -> str:
    stream = io.StringIO()
    print_report(one, Console(file=stream, width=80))
    return stream.getvalue()


def test_table_markdown_and_json_are_the_stored_ones(is_golden):
    one = corrupted()
    is_golden(table(one), "groups.txt")
    is_golden(report_markdown([("r", one)]), "groups.md")
    is_golden(one.variants[0].clean.model_dump_json(indent=2), "groups.json")


def test_means_are_those_of_the_cells_by_hand():
    """With severity s (from 0) and corruption c (from 0), c + s of 12 images are wrong."""
    clean = group_grids(corrupted(), intervals=False, everything=True)[0]
    assert clean.headers == ("corruption", "1", "2", "3", "4", "5", "mean")
    assert clean.rows[0] == ("shot_noise", "100.0", "91.7", "83.3", "75.0", "66.7", "83.3")
    assert clean.rows[2][-1] == "66.7"
    assert clean.rows[3] == ("mean", "91.7", "83.3", "75.0", "66.7", "58.3", "75.0")
    assert clean.detail.startswith("n = 12 in each, 95 % intervals of at most ±")


def test_cells_have_their_intervals_where_there_is_room():
    assert "91.7 (64.6–98.5)" in table(corrupted(3))
    assert "91.7 (64.6–98.5)" not in table(corrupted(5))
    for text in (report_markdown([("r", corrupted())]), html_page([Source("r", corrupted())])):
        assert "91.7 (64.6–98.5)" in text
    assert max(len(line) for line in table(corrupted(3)).splitlines()) <= 80


@pytest.mark.parametrize(("severities", "last"), [(1, "1"), (2, "mean")])
def test_a_single_severity_has_no_mean(severities, last):
    grid = group_grids(corrupted(severities), intervals=True, everything=False)[0]
    assert grid.headers[-1] == last
    assert {len(row) for row in grid.rows} == {len(grid.headers)}


def test_cut_off_base_images_do_not_count_in_cells_and_cells_without_samples_are_said():
    """Of 15 cells, 37 samples fill all twice; 6 samples fill six once."""
    assert "n = 2 in each" in group_grids(corrupted(5, 37), intervals=True, everything=False)[0].detail
    six = group_grids(corrupted(5, 6), intervals=False, everything=False)[0]
    assert six.rows[1] == ("fog", "0.0", "–", "–", "–", "–", "0.0")
    assert [row[0] for row in six.rows] == ["shot_noise", "fog", "mean"]


def test_the_page_has_every_outcome_and_the_table_the_clean_one_and_the_worst_case():
    page = html_page([Source("r", corrupted())])
    assert ">By corruption and severity</h2>" in page
    assert page.count("<caption>sample/running, ") == 4
    assert table(corrupted()).count("accuracy % by corruption") == 2
    assert "count 12 base images" in page


def test_under_batch_statistics_the_batches_are_said_to_be_mixed():
    mixed, usual = (" ".join(table(corrupted(stats=stats)).split()) for stats in ("batch", "running"))
    for words in (
        "a batch mixes corruptions and",
        "exchange whole base images, under batch statistics blocks of whole",
    ):
        assert words in mixed
        assert words not in usual


def test_corruption_errors_stand_beside_the_clean_accuracies_alone():
    """They are of the clean outcome, so an attacked grid with this column would read as its errors."""
    means = {
        name: CorruptionMean(
            severities=[1, 2, 3, 4, 5], accuracies=[0.5] * 5, accuracy=0.5, ci95=(0.4, 0.6), corruption_error=1.5
        )
        for name in ("shot_noise", "fog", "jpeg_compression")
    }
    mce = MeanCorruptionError(baseline="x", baseline_run="y", mce=1.5, relative_mce=None)
    found = CommonCorruptions(corruptions=means, accuracy=0.5, ci95=(0.4, 0.6), standard=False, mce=mce)
    one = corrupted()
    one = replaced(one, variants=[replaced(one.variants[0], common_corruptions=found)])
    columns = {grid.title: grid.headers[-1] for grid in group_grids(one, intervals=False, everything=True)}
    assert [title for title, last in columns.items() if last == "CE %"] == [
        "sample/running, clean: accuracy % by corruption and severity"
    ]
    assert len(columns) == 4


def test_csv_has_a_row_for_every_cell_and_outcome_and_no_more_columns_for_other_reports():
    rows = list(csv.DictReader(io.StringIO(report_csv([("r", corrupted()), ("s", report())]))))
    own = [row for row in rows if row["group"]]
    assert len(own) == 4 * 15
    first = own[0]
    assert (first["accuracy"], first["group"], float(first["value"])) == ("clean", "shot_noise/1", 1.0)
    assert {row["accuracy"] for row in own} == {row["accuracy"] for row in rows if row["report"] == "r"}
    assert report_csv([("s", report())]).splitlines()[0] == ",".join(CSV_COLUMNS)


def test_other_reports_have_no_such_parts():
    assert group_grids(report(), intervals=True, everything=True) == []
    assert "base image" not in table(report())
    assert "groups" not in report().to_json()
    assert Report.model_validate_json(corrupted().to_json()) == corrupted()
