"""Dry runs on the imitated device: every attack is tried, and nothing mixes devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stein_bench.config import make_config
from stein_bench.evaluation.dry_run import dry_run
from tests.imitation import Device
from tests.imitation.problems import write_problem
from tests.imitation.test_evaluate import NATIVE_SPECS


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stein_bench.evaluation.dry_run.LEAST", 0.02)
    monkeypatch.setattr("stein_bench.evaluation.dry_run.MOST", 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("stats", ["running", "batch"])
def test_every_native_attack_has_a_cost(tmp_path: Path, imitation_cuda: Device, stats: str) -> None:
    problem = {**write_problem(tmp_path), "stats": stats, "device": "cuda", "attack": [*NATIVE_SPECS, "noise-gaussian"]}
    run = dry_run(make_config(problem))
    costs = [phase for phase in run.phases if phase.kind in ("attack", "corruption")]
    assert len(costs) == len(NATIVE_SPECS) + 1
    assert not [note for note in run.notes if "fails" in note]
    for cost in costs:
        assert cost.bounds is not None
        assert cost.expected is not None
        for least, expected, most in zip(cost.bounds.least, cost.expected, cost.bounds.most, strict=True):
            assert least - 1e-6 <= expected <= most + 1e-6, cost.phase
    assert run.device.startswith("cuda")
    assert run.memory.startswith("allocated")
