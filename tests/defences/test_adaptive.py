"""The adaptive attack finds what a defense hides, breaks it, and leaves sound networks alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from stein_bench.attacks.through import OWN, Strategy
from stein_bench.evaluation import adaptive, trial
from stein_bench.evaluation.batches import Evaluated
from stein_bench.evaluation.run import run_evaluation
from stein_bench.evaluation.trial import FEWEST, Trial, Tried
from stein_bench.render.report.adaptive import adaptive_notes
from stein_bench.report.document import Report
from stein_bench.report.results import AdaptiveInfo
from tests.defences import zoo
from tests.defences.table import ADAPTIVE, KNOWN, config
from tests.defences.truth import SAMPLES

QUICK = "adaptive:steps=10,queries=20"
APART = {"MedianPixels": 15.0, "RandomShift": 10.0}
"""Points by which a robust accuracy may exceed the known one, if not `USUALLY`. A median has its gradient in
single pixels, which takes more restarts than the attack makes; on random networks it makes no targeted ones."""
USUALLY = 5.0


def evaluated(name: str, *attacks: str, samples: int = 30, **options: object) -> tuple[Report, AdaptiveInfo]:
    report = run_evaluation(config(name, *attacks, samples=samples, **options))
    (info,) = list(report.variants[0].adaptive or [])
    return report, info


@pytest.fixture
def short_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "STEPS", 3)
    monkeypatch.setattr(trial, "QUERIES", 5)


@pytest.mark.integration
@pytest.mark.usefixtures("short_trial")
def test_rounded_pixels_get_a_straight_through_gradient_and_the_report_says_what_it_changed() -> None:
    report, info = evaluated("RoundedPixels", "pgd", QUICK)
    assert info.hidden
    assert info.used[0] == "straight-through gradients"
    (rounding,) = [one for one in info.replaced if one.operation == "round"]
    lines = Path(zoo.__file__).read_text(encoding="utf-8").splitlines()
    assert rounding.file == "zoo.py"
    assert rounding.line is not None
    assert "torch.round(8 * x)" in lines[rounding.line - 1]
    pgd, adaptive = report.variants[0].attacks
    assert info.others == pgd.robust_accuracy
    assert info.together == adaptive.robust_accuracy == info.robust_accuracy
    assert info.others is not None
    assert info.together is not None
    assert info.others - info.together > 0.3
    assert sum(one.lowered or 0.0 for one in info.searches) == pytest.approx(info.others - info.together)
    assert sum(one.broken for one in info.searches) == round(30 * (report.variants[0].clean.accuracy - info.together))
    last = list(adaptive_notes(report))[-1]
    assert "the model hides its gradients" in last
    assert f"without it this battery would have claimed {100 * info.others:.1f} %" in last
    assert [check.status for check in report.diagnostics if check.name == "hidden-gradients"] == ["fail"]


@pytest.mark.integration
@pytest.mark.usefixtures("short_trial")
def test_a_model_without_a_gradient_hides_it_within_a_budget_too_small_to_break_anything() -> None:
    report, info = evaluated("RoundedPixels", "adaptive:steps=5,queries=5,eps=0.01", samples=10)
    assert max(one.broken for one in info.tried) < FEWEST  # or it would be no such budget
    assert info.hidden
    assert info.used[0] == "straight-through gradients"
    assert not any("run with --adaptive" in check.message for check in report.diagnostics)


@pytest.mark.integration
@pytest.mark.usefixtures("short_trial")
def test_fewer_samples_are_tried_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = adaptive._found

    def limited(tried: Trial, own: nn.Module | None) -> tuple[Strategy, AdaptiveInfo]:
        if len(tried.batch.seeds) > 6:
            raise torch.OutOfMemoryError
        return found(tried, own)

    monkeypatch.setattr(adaptive, "_found", limited)
    _, info = evaluated("RoundedPixels", "adaptive:steps=5,queries=5", samples=10)
    assert 0 < info.probed <= 4
    assert info.hidden


@pytest.mark.integration
def test_a_sound_network_keeps_its_own_gradients() -> None:
    report, info = evaluated("Trained", "pgd", QUICK)
    assert not info.hidden
    assert info.used == ["its own gradients"]
    assert [check.status for check in report.diagnostics if check.name == "hidden-gradients"] == ["pass"]


@pytest.mark.usefixtures("short_trial")
def test_of_a_random_network_the_searches_lower_the_expected_accuracy() -> None:
    report, info = evaluated("RandomNoise", "fgsm:eps=0.02", "adaptive:steps=3,queries=5,eps=0.4", samples=8, draws=4)
    (variant,) = report.variants
    expected = variant.worst_case_expected_accuracy
    assert expected is not None
    assert info.together == expected.value
    assert info.others is not None
    assert info.others > info.together
    assert sum(one.lowered or 0.0 for one in info.searches) == pytest.approx(info.others - info.together)
    assert sum(one.broken for one in info.searches) > 0
    assert {one.search for one in info.searches if one.lowered} & {"pma", "apgd-ce"}


OPAQUE = """
from concurrent.futures import ThreadPoolExecutor

import torch
from tests.defences import zoo


class Opaque(zoo.Trained):
    def forward(self, x):
        with ThreadPoolExecutor(1) as elsewhere, torch.no_grad():
            scores = elsewhere.submit(super().forward, x.detach()).result()
        return torch.tensor(scores.tolist())
"""


@pytest.mark.integration
@pytest.mark.usefixtures("short_trial")
def test_a_network_that_no_gradient_can_be_found_for_is_searched_by_its_scores(tmp_path: Path) -> None:
    file = tmp_path / "opaque.py"
    file.write_text(OPAQUE)
    report, info = evaluated("Trained", "adaptive:steps=4,queries=150", samples=12, model=f"{file}:Opaque")
    assert info.hidden
    assert [one.search for one in info.searches][-2:] == ["square", "nes"]
    assert sum(one.broken for one in info.searches if one.search in ("square", "nes")) > 0
    assert report.variants[0].worst_case_accuracy == info.robust_accuracy


@pytest.mark.slow
def test_logits_behind_one_hot_outputs_are_attacked() -> None:
    report, info = evaluated("Argmax", QUICK)
    assert info.logits_before == "argmax"
    sound, _ = evaluated("Trained", QUICK)
    robust = [one.variants[0].worst_case_accuracy for one in (report, sound)]
    assert robust[0] is not None
    assert robust[1] is not None
    assert abs(robust[0] - robust[1]) <= 1 / 30


@pytest.mark.integration
@pytest.mark.usefixtures("short_trial")
def test_results_depend_on_neither_batch_size_nor_resuming(tmp_path: Path) -> None:
    from stein_bench.evaluation.journal import journal_path

    output = str(tmp_path / "report.json")
    attack, few = "adaptive:steps=6,queries=10", {"samples": 9, "batch_size": 4, "output": output}
    whole, _ = evaluated("RoundedPixels", attack, samples=9, batch_size=9)
    first, _ = evaluated("RoundedPixels", attack, **few)
    assert first.variants[0].outcomes == whole.variants[0].outcomes
    lines = journal_path(output).read_bytes()
    again, info = evaluated("RoundedPixels", attack, **few, resume=True)
    assert journal_path(output).read_bytes() == lines  # nothing was done again
    assert again.variants[0].outcomes == first.variants[0].outcomes
    assert first.variants[0].adaptive == [info]


@pytest.mark.slow
@pytest.mark.parametrize("network", [*zoo.SOUND, *zoo.DEFENCES])
def test_robust_accuracies_are_near_the_known_ones(network: type[zoo.Trained]) -> None:
    report, _ = evaluated(network.__name__, ADAPTIVE, samples=SAMPLES)
    variant = report.variants[0]
    expected = variant.worst_case_expected_accuracy
    found = variant.worst_case_accuracy if expected is None else expected.value
    assert found is not None
    assert 100 * found <= KNOWN[network.__name__] + APART.get(network.__name__, USUALLY)


@pytest.mark.slow
def test_batch_statistics_and_other_norms() -> None:
    _, coupled = evaluated("Normalized", "adaptive:steps=4,queries=5", samples=20, stats=("batch",), batch_size=10)
    assert coupled.searches == []  # the batch stays whole: no sample ends in a search of its own
    assert coupled.robust_accuracy is not None
    _, sparse = evaluated("RoundedPixels", "adaptive:norm=L1,steps=10,queries=10", samples=20, eps=(200.0,))
    assert sparse.hidden


@pytest.mark.parametrize("network", ["SawtoothPixels", pytest.param("NegatedGradients", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("short_trial")
def test_a_gradient_that_misleads_is_noticed_where_no_attack_breaks_much(network: str) -> None:
    _, info = evaluated(network, "adaptive:steps=4,queries=5", samples=12, eps=(0.02,))
    assert info.hidden
    assert info.used[0] != "its own gradients"


def test_chance_alone_is_no_evidence_of_hidden_gradients() -> None:
    def tried(count: int, first: int = 0) -> Tried:
        return Tried(OWN, (np.arange(64) >= first) & (np.arange(64) < first + count))

    trial = object.__new__(Trial)
    trial.right = np.ones(64, np.bool_)
    for random in (False, True):
        trial.evaluated = cast(Evaluated, SimpleNamespace(random=random))
        assert trial.better(tried(10, 30), tried(7)) is not random
        assert not trial.better(tried(8), tried(7))
        assert not trial.exceeds(tried(10, 30), tried(7))
        assert trial.exceeds(tried(10, 30), replace(tried(7), misled=True)) is not random
        assert trial.exceeds(tried(17, 30), tried(3))
        assert trial.exceeds(tried(7), tried(0))
        assert not trial.exceeds(tried(6), tried(0))


@pytest.mark.integration
@pytest.mark.usefixtures("short_trial")
def test_no_decision_based_search_is_made_in_l1_and_no_gradient_source_is_named_where_none_has_one() -> None:
    flat = "adaptive:norm=L1,steps=3,queries=30,eps=12"
    report, info = evaluated("Decisions", flat, samples=8)
    assert info.hidden
    assert info.used == []
    assert {one.search for one in info.searches} & {"rays", "hopskipjump"} == set()
    assert report.variants[0].attacks[0].status == "ok"
    assert not any(": uses" in note for note in adaptive_notes(report))


@pytest.mark.integration
@pytest.mark.usefixtures("short_trial")
def test_limits_that_stop_gradients_only_at_the_edge_of_the_box_are_worked_around() -> None:
    for network in ("ClampedPixels", "PositivePixels"):
        report, info = evaluated(network, "pgd", QUICK)
        assert info.hidden
        assert info.others is not None
        assert info.together is not None
        assert info.others - info.together > 0.15
        assert {check.name for check in report.diagnostics if check.status == "fail"} >= {
            "hidden-gradients", "input-gradients",
        }  # fmt: skip
