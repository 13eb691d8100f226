"""Attacks that ignore ε are run once for all budgets: the report is that of separate runs, resumed or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stein_bench.attacks import native
from stein_bench.attacks.attack import by_run, resolve_attacks
from stein_bench.config import make_config
from stein_bench.evaluation.journal import journal_path
from stein_bench.evaluation.run import run_evaluation
from stein_bench.progress import Silent
from stein_bench.report.adversarials import adversarials_path
from stein_bench.report.document import Report, report_schema
from stein_bench.report.results import AttackResult
from tests.journals import units_in

EPS = "4/255,12/255,30/255"
COMMON = {"weights": "none", "mean": "0", "std": "1", "batch_size": 16}
FIXED = """
from torch import nn


def make():
    \"\"\"The brightest channel, by BN that changes nothing; no training is needed.\"\"\"
    return nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "fixed.py").write_text(FIXED)
    return f"{tmp_path / 'fixed.py'}:make"


def run(model: str, data: str, progress: Silent | None = None, **options: Any) -> Report:
    config = make_config({"model": model, "data": data, "eps": EPS, **COMMON, **options})
    return run_evaluation(config, progress=progress)


def judged(attack: AttackResult) -> dict[str, Any]:
    """What one run or several must agree on."""
    return attack.model_dump(exclude={"seconds", "forward_passes", "backward_passes", "same_run_as"})


def timeless(report: Report) -> list[dict[str, Any]]:
    """The results without wall times."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(part) for key, part in value.items() if key != "seconds"}
        return [strip(part) for part in value] if isinstance(value, list) else value

    return [strip(variant.model_dump(mode="json")) for variant in report.variants]


def test_attacks_that_differ_only_in_a_budget_they_ignore_have_one_run() -> None:
    attacks = resolve_attacks(["fmn:steps=3", "pgd", "fmn", "torchattacks.PGD", "torchattacks.CW"], [0.1, 0.2])
    assert [[(a.name, a.eps, a.params.get("steps")) for a in together] for together in by_run(attacks)] == [
        [("fmn", 0.1, 3), ("fmn", 0.2, 3)], [("pgd", 0.1, 10)], [("pgd", 0.2, 10)],
        [("fmn", 0.1, 100), ("fmn", 0.2, 100)], [("torchattacks.PGD", 0.1, 10)], [("torchattacks.PGD", 0.2, 10)],
        [("torchattacks.CW", 0.1, 50), ("torchattacks.CW", 0.2, 50)],
    ]  # fmt: skip


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("refill", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_rows_are_those_of_separate_runs_and_the_passes_count_once(model: str, data: str, refill: bool) -> None:
    together = run(model, data, attack=["fmn:steps=10", "pgd"], refill=refill)
    jsonschema.validate(together.model_dump(mode="json"), report_schema())
    attacks = {attack.label: attack for attack in together.variants[0].attacks}
    assert len(attacks) == 6
    apart = [run(model, data, attack="fmn:steps=10", eps=eps, refill=refill).variants[0] for eps in EPS.split(",")]
    first, *others = [variant.attacks[0] for variant in apart]
    shares = [first.robust_accuracy, *(one.robust_accuracy for one in others)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[1] > shares[2]
    for one in (first, *others):
        assert judged(attacks[one.label]) == judged(one)
        assert one.same_run_as is None
    assert attacks[first.label].same_run_as is None
    assert attacks[first.label].forward_passes == first.forward_passes > 0
    for one in others:
        assert attacks[one.label].same_run_as == first.label
        assert (attacks[one.label].forward_passes, attacks[one.label].backward_passes) == (0, 0)
    assert "same_run_as" not in first.model_dump(mode="json")
    assert [attack.same_run_as for attack in attacks.values() if attack.name == "pgd"] == [None] * 3


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("attack", "stats"),
    [
        ("ddn:steps=5", "running"),
        pytest.param("ddn:steps=5", "batch", marks=pytest.mark.slow),
        pytest.param("torchattacks.DeepFool:steps=3", "running", marks=pytest.mark.slow),
    ],
)
def test_a_run_resumed_at_any_unit_gives_the_same_report(
    model: str, data: str, tmp_path: Path, attack: str, stats: str
) -> None:
    """Also where a batch was judged at some budgets only."""
    output = tmp_path / "report.json"
    options = {"attack": [attack], "stats": stats, "output": str(output), "save_adversarials": 3, "eps": "0.1,0.3"}
    whole = run(model, data, **options)
    journal, examples = journal_path(output), adversarials_path(output).read_bytes()
    content, units = journal.read_bytes(), units_in(journal)
    assert [unit.batch for _, unit in units if "ddn" in unit.phase or "Deep" in unit.phase][:4] == [0, 0, 1, 1]
    for end, _ in units[::4]:
        journal.write_bytes(content[:end])
        assert timeless(run(model, data, **options, resume=True)) == timeless(whole)
        assert adversarials_path(output).read_bytes() == examples


@pytest.mark.usefixtures("unchecked")
def test_a_failure_is_one_of_every_budget_and_said_once(model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Notes(Silent):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, message: str) -> None:
            self.notes.append(message)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setitem(native.NATIVE_ATTACKS, "fmn", broken)
    for refill in (False, True):
        notes = Notes()
        report = run(model, data, notes, attack=["fmn", "pgd"], refill=refill)
        statuses = [(attack.name, attack.status) for attack in report.variants[0].attacks]
        assert statuses == [("fmn", "failed")] * 3 + [("pgd", "ok")] * 3
        assert [note for note in notes.notes if "failed" in note] == [
            "fmn 4/255, 12/255, 30/255 failed: RuntimeError: boom"
        ]


def test_progress_shows_one_phase_with_all_budgets(model: str, data: str) -> None:
    class Phases(Silent):
        def __init__(self) -> None:
            self.advanced: dict[str, int] = {}

        def start(self, phase: str, total: int, done: int = 0) -> None:
            self.phase = phase
            self.advanced[phase] = 0

        def advance(self, samples: int, note: str = "") -> None:
            self.advanced[self.phase] += samples

    shown = Phases()
    run(model, data, shown, attack=["fmn:steps=3", "fgsm"])
    names = ["clean", "fmn 4/255, 12/255, 30/255", "fgsm 4/255", "fgsm 12/255", "fgsm 30/255"]
    counts = {name: count for name, count in shown.advanced.items() if not name.startswith("checks")}
    assert counts == {f"{name} sample/running": 60 for name in names}
