"""Accuracy by cell of a corrupted test set, and outcomes whose base images come in several versions."""

from __future__ import annotations

import numpy as np
import pytest

from stein_bench.errors import RunError
from stein_bench.measures import MEASURES, RightOrWrong, TwoClass
from stein_bench.measures.common import cells_of_groups
from stein_bench.measures.groups import group_results
from stein_bench.report.results import Outcomes
from stein_bench.statistics.paired_tests import paired
from stein_bench.statistics.rates import wilson

CELLS = ("fog/1", "fog/2", "snow/1")
CORRECT = np.array([1, 0, 0, 1, 1, 0, 1, 1, 1, 1], np.bool_)
"""Three base images in three cells, and a fourth in the first cell only, which counts in none."""


def test_every_cell_has_its_own_samples_and_wilsons_interval():
    found = group_results([RightOrWrong(CORRECT, cluster=3)], CELLS)
    assert found is not None
    assert [(name, one.samples, one.accuracy) for name, one in found.items()] == [
        ("fog/1", 3, 1.0), ("fog/2", 3, 2 / 3), ("snow/1", 3, 1 / 3),
    ]  # fmt: skip
    rate = wilson(2, 3)
    assert found["fog/2"].ci95 == (rate.low, rate.high)
    drawn = group_results([RightOrWrong(CORRECT, cluster=3), RightOrWrong(~CORRECT, cluster=3)], CELLS)
    assert drawn is not None
    assert {one.accuracy for one in drawn.values()} == {0.5}
    whole = cells_of_groups(RightOrWrong(CORRECT, cluster=3), CELLS)
    assert {f"{name}/{level}": draws[0].value() for (name, level), draws in whole.items()} == {
        name: one.accuracy for name, one in found.items()
    }
    assert list(group_results([RightOrWrong(CORRECT[:2], cluster=3)], CELLS) or ()) == ["fog/1", "fog/2"]
    assert group_results([RightOrWrong(CORRECT)], None) is None
    assert group_results([], CELLS) is None


def test_outcomes_stay_clustered_through_attacks_the_worst_case_and_the_report():
    clean = RightOrWrong(CORRECT).clustered(3)
    adversarial = RightOrWrong(np.roll(CORRECT, 1))
    robust = clean.under_attack(adversarial, np.zeros(10, np.bool_))
    worst = RightOrWrong.worst_case([clean, robust])
    expected = wilson(3 * robust.correct.mean(), 3)
    for outcome in (robust, worst):
        assert (outcome.accuracy().low, outcome.cluster) == (pytest.approx(expected.low), 3)
    kept = Outcomes(samples=10, sample_ids_sha256="0" * 64, **RightOrWrong.packed(clean, {"a": robust}, {}))
    assert kept.cluster_size == 3
    back, attacks = RightOrWrong.unpacked(kept)
    assert (back.cluster, attacks["a"].cluster) == (3, 3)
    assert back.versus(attacks["a"]) == paired(clean.correct, robust.correct, None, 3)
    assert back.batch_gains(attacks["a"], 2).tolist() == [
        int(clean.correct[part].sum() - robust.correct[part].sum()) for part in (slice(0, 6), slice(6, 10))
    ]
    plain = RightOrWrong.packed(RightOrWrong(CORRECT), {}, {})
    assert "cluster_size" not in Outcomes(samples=10, sample_ids_sha256="0" * 64, **plain).model_dump()


def test_two_class_metrics_of_versions_have_no_intervals():
    score = np.linspace(-1, 1, 10)
    outcome = TwoClass(CORRECT, score, score > 0).clustered(2)
    assert {figure.ci95 for figure in outcome.metrics().values()} == {None}
    assert outcome.metrics()["auc"].value == TwoClass(CORRECT, score, score > 0).metrics()["auc"].value
    worse = outcome.under_attack(outcome, np.zeros(10, np.bool_))
    assert (worse.cluster, worse.select(np.arange(3)).cluster) == (2, 1)


def test_segmentation_has_no_versions():
    counts = {name: np.ones((2, 2), np.int64) for name in ("intersection", "prediction", "target")}
    outcome = MEASURES["segmentation"].from_columns(counts)
    assert outcome.clustered(1) is outcome
    with pytest.raises(RunError, match="several versions of a base image can only be evaluated for classification"):
        outcome.clustered(2)
