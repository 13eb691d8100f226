"""From the cells' values to rows: means, contrasts over seeds, and confounded rows."""

from __future__ import annotations

import pytest

from stein_bench.reproduction.replicates import paired_t
from stein_bench.reproduction.summary import Measured, collapsed, measured, rows
from stein_bench.statistics.paired_tests import holm
from tests.reports import bits, corruption, replaced, report, variant

ACCURACIES = {
    ("sample", "running"): [0.50, 0.54, 0.52],
    ("sample", "batch"): [0.60, 0.66, 0.61],
    ("stein", "running"): [0.51, 0.58, 0.55],
    ("stein", "batch"): [0.58, 0.66, 0.65],
}
SEEDS = (0, 1, 2)


def cells(accuracies=ACCURACIES, part="standard"):
    """One cell per variant and seed, with a clean accuracy and one under `pgd:…`."""
    return [
        Measured(
            part, bn, stats, seed,
            {("clean", "accuracy"): 0.9, ("pgd:eps=0.1", "accuracy"): values[seed]},
            {"clean": "clean", "pgd:eps=0.1": "pgd 0.1"},
        )
        for (bn, stats), values in accuracies.items()
        for seed in SEEDS
        if values[seed] is not None
    ]  # fmt: skip


def row_of(found, bn, stats, outcome="pgd:eps=0.1"):
    (row,) = [row for row in found if (row.bn, row.stats, row.outcome) == (bn, stats, outcome)]
    return row


def test_a_row_holds_every_seed_its_mean_and_its_deviation() -> None:
    row = row_of(rows(cells(), SEEDS), "stein", "running")
    assert (row.seeds, row.values) == ([0, 1, 2], [0.51, 0.58, 0.55])
    assert row.mean == pytest.approx(0.546667, abs=1e-6)
    assert row.sd == pytest.approx(0.035119, abs=1e-6)
    assert row.title == "pgd 0.1"


@pytest.mark.parametrize("failed", SEEDS)
def test_a_metric_that_one_seed_lacks_is_that_of_the_others(failed: int) -> None:
    """An attack that failed has no metrics, whichever seed it is in."""
    values = {"sample": (0.4, 0.5, 0.6), "stein": (0.5, 0.7, 0.6)}
    found = rows(
        [
            Measured(
                "standard", bn, "running", seed,
                {("clean", "accuracy"): 0.9}
                | ({} if (bn, seed) == ("stein", failed) else {("pgd:eps=0.1", "miou"): values[bn][seed]}),
                {"clean": "clean"} if (bn, seed) == ("stein", failed) else {"clean": "clean", "pgd:eps=0.1": "pgd 0.1"},
            )
            for bn in values
            for seed in SEEDS
        ],
        SEEDS,
    )  # fmt: skip
    row = row_of(found, "stein", "running")
    assert row.values == [None if seed == failed else values["stein"][seed] for seed in SEEDS]
    assert row.title == "pgd 0.1"
    kept = [seed for seed in SEEDS if seed != failed]
    expected = paired_t([values["sample"][seed] for seed in kept], [values["stein"][seed] for seed in kept])
    assert (row.contrasts[0].seeds, row.contrasts[0].mean) == (2, pytest.approx(expected.mean))


def test_the_estimator_is_compared_under_the_same_source_and_the_source_within_a_bn() -> None:
    found = rows(cells(), SEEDS)
    contrasts = {c.kind: c for c in row_of(found, "stein", "batch").contrasts}
    estimator = paired_t(ACCURACIES["sample", "batch"], ACCURACIES["stein", "batch"])
    source = paired_t(ACCURACIES["stein", "running"], ACCURACIES["stein", "batch"])
    assert contrasts["estimator"].against == "sample/batch"
    assert contrasts["source"].against == "stein/running"
    assert (contrasts["estimator"].mean, contrasts["estimator"].p) == (estimator.mean, estimator.p)
    assert (contrasts["source"].mean, contrasts["source"].ci95) == (source.mean, source.interval)
    assert [c.kind for c in row_of(found, "sample", "batch").contrasts] == ["source"]
    assert row_of(found, "sample", "running").contrasts == []
    assert not any(row.confounded for row in found)


def test_p_is_adjusted_over_the_contrasts_of_its_kind() -> None:
    found = rows(cells(), SEEDS)
    for kind in ("estimator", "source"):
        drawn = [c for row in found for c in row.contrasts if c.kind == kind]
        assert len(drawn) == 4  # two variants, two outcomes
        tested = [c for c in drawn if c.p is not None]
        assert len(tested) == 2  # all clean accuracies are equal
        assert [c.p_adjusted for c in tested] == pytest.approx(holm([c.p for c in tested]))


def test_if_bn_and_source_both_differ_nothing_is_compared() -> None:
    published = {key: ACCURACIES[key] for key in (("sample", "running"), ("stein", "batch"))}
    row = row_of(rows(cells(published), SEEDS), "stein", "batch")
    assert row.confounded
    assert row.contrasts == []


def test_parts_are_not_compared_with_one_another() -> None:
    plain = {("sample", "running"): ACCURACIES["sample", "running"]}
    other = {("stein", "running"): ACCURACIES["stein", "running"]}
    found = rows([*cells(plain, "standard"), *cells(other, "adversarial")], SEEDS)
    assert row_of(found, "stein", "running").contrasts == []


def test_a_failed_seed_is_missing_in_the_row_and_in_its_pairs() -> None:
    broken = {**ACCURACIES, ("stein", "running"): [0.51, None, 0.55]}
    found = rows(cells(broken), SEEDS)
    row = row_of(found, "stein", "running")
    assert row.values == [0.51, None, 0.55]
    assert row.mean == pytest.approx(0.53)
    (estimator,) = row.contrasts
    assert estimator.seeds == 2
    assert estimator.mean == pytest.approx((0.01 + 0.03) / 2)


def test_one_seed_gives_differences_without_a_test() -> None:
    found = rows([cell for cell in cells() if cell.seed == 0], (0,))
    (estimator,) = row_of(found, "stein", "running").contrasts
    assert estimator.mean == pytest.approx(0.01)
    assert (estimator.sd, estimator.ci95, estimator.p, estimator.p_adjusted) == (None, None, None, None)


def test_a_collapsed_network_is_reported() -> None:
    found = rows(cells(), SEEDS)
    assert collapsed(found, 10) == []
    lost = [row.model_copy(update={"mean": 0.12}) if row.bn == "stein" else row for row in found]
    lines = collapsed(lost, 10)
    assert len(lines) == 2
    assert "standard, stein/running: clean accuracy has collapsed to 12.0 %; the best variant has 90.0 %" in lines[0]


def test_corruptions_of_every_kind_have_a_title_with_their_strength() -> None:
    made = [corruption("fog:severity=3", bits(20)), corruption("noise-gaussian:std=0.1,seeds=1", bits(30))]
    found = measured("standard", 0, report(replaced(variant("sample", "running"), corruptions=made)))
    assert found.titles["fog:severity=3"] == "fog 3"
    assert found.titles["noise-gaussian:std=0.1,seeds=1"] == "gaussian 0.1"
    assert found.figures["fog:severity=3", "accuracy"] == pytest.approx(0.8)
