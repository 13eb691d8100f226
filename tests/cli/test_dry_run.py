"""`evaluate --dry-run`: a table or a document on stdout, nothing written, and the exit codes of the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stein_bench.cli.dry_run import show_costs
from stein_bench.config import OPTION_NAMES
from stein_bench.errors import UsageError

ATTACKS = ["--attack", "fgsm", "--attack", "pgd:steps=3", "--weights", "none"]


def test_the_table_has_every_phase_its_passes_and_several_processes(invoke, model, data):
    result = invoke("evaluate", model, "--data", data, *ATTACKS, "--batch-size", "20", "--dry-run")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["fgsm", "1+1", "1+1", "1+1"] in [line[:4] for line in lines]
    assert ["pgd", "1+1", "3+3"] in [line[:3] for line in lines]
    assert any(line[:1] == ["total"] for line in lines)
    assert [line[0] for line in lines if line and line[0] in ("1", "2", "4")] == ["1", "2"]  # of three batches
    assert "peak memory" in result.stdout


def test_the_document_holds_the_same(invoke, model, data, tmp_path):
    output = tmp_path / "report.json"
    arguments = ["evaluate", model, "--data", data, *ATTACKS, "--output", str(output), "--format", "json", "--dry-run"]
    result = invoke(*arguments)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["dry_run"] == 1
    assert document["samples"] == 60
    pgd = next(phase for phase in document["phases"] if phase["phase"].startswith("pgd"))
    assert pgd["passes"]["least"] == {"forward": 1, "backward": 1}
    assert pgd["passes"]["most"] == {"forward": 3, "backward": 3}
    assert 0 < pgd["low"] <= pgd["seconds"] <= pgd["high"]
    assert document["total"]["seconds"] == pytest.approx(
        sum(phase["seconds"] for phase in document["phases"]), abs=0.01
    )
    assert not list(tmp_path.glob("report.json*"))


def test_bad_input_is_refused(invoke, model, data):
    result = invoke("evaluate", model, "--data", data, "--attack", "pdg", "--dry-run")
    assert result.exit_code == 2
    assert "pdg" in result.stderr
    assert result.stdout == ""


def test_it_is_no_setting_of_a_run():
    assert "dry-run" not in OPTION_NAMES


@pytest.mark.integration
def test_a_sweep_has_a_total_for_each_model_and_one_for_all(invoke, model, data, tmp_path):
    (tmp_path / "broken.py").write_text("def make(num_classes=3):\n    raise ValueError('no weights here')\n")
    broken, folder = f"{tmp_path / 'broken.py'}:make", tmp_path / "runs"
    arguments = ["evaluate", model, broken, "--data", data, *ATTACKS, "--output", f"{folder}/", "--dry-run"]
    result = invoke(*arguments)
    assert result.exit_code == 3
    assert "no weights here" in " ".join(result.stdout.split())
    assert "the 1 that work" in result.stdout
    document = json.loads(invoke(*arguments, "--format", "json").stdout)
    sound, failed = document["models"]
    assert document["total"]["seconds"] == sound["total"]["seconds"]
    assert "no weights here" in failed["failed"]
    assert not Path(folder).exists() or not list(Path(folder).iterdir())


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr("stein_bench.cli.dry_run.launched", lambda: True)
    with pytest.raises(UsageError, match="without torchrun"):
        show_costs(None)
