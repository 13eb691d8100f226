"""Own attacks, estimators and metrics on the command line: used, named in errors, and contained."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from stein_bench.cli.commands import app
from tests.attacks.test_own import VIOLATIONS
from tests.tiny import write_data, write_model

ATTACKS = "from tests.attacks.test_own import *\ndef nan(model, inputs, labels):\n    return inputs * float('nan')\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEIN_BENCH_CACHE", str(tmp_path / "cache"))
    write_model(tmp_path)
    (tmp_path / "attacks.py").write_text(ATTACKS)
    return tmp_path


def invoke(folder, *words):
    return CliRunner().invoke(
        app, ["evaluate", "net.py:make", "--data", write_data(folder, n=30), "--weights", "none", "-q", *words]
    )


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """Return the variant of a run without an own attack."""
    folder = tmp_path_factory.mktemp("without")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_model(folder)
        found = invoke(folder, "--attack", "fgsm", "--attack", "pgd:steps=2", "--output", "alone.json")
    assert found.exit_code == 0, found.output
    return json.loads((folder / "alone.json").read_text())["variants"][0]


@pytest.mark.parametrize("name", [*(found.__name__ for found, _ in VIOLATIONS), "nan"])
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_an_attack_that_breaks_a_rule_is_named_and_the_exit_code_is_3(folder, without, name):
    words = ["--attack", "fgsm", "--attack", f"attacks.py:{name}", "--attack", "pgd:steps=2", "--output", "r.json"]
    found = invoke(folder, *words)
    assert found.exit_code == 3, found.output
    variant = json.loads((folder / "r.json").read_text())["variants"][0]
    before, broken, after = variant["attacks"]
    assert broken["status"] == ("invalid" if name == "nan" else "failed")
    assert "not finite" in broken["message"] if name == "nan" else f"attacks.py:{name}" in broken["message"]
    assert variant["worst_case_accuracy"] is None if name != "nan" else True
    # The others' figures are those of a run without it: nothing that it did has reached them.
    assert [a["robust_accuracy"] for a in (before, after)] == [a["robust_accuracy"] for a in without["attacks"]]
    assert variant["outcomes"]["clean_correct"] == without["outcomes"]["clean_correct"]


def test_an_attack_that_fails_in_a_later_batch_has_failed(folder):
    (folder / "later.py").write_text(
        "calls = []\ndef later(model, inputs, labels):\n    calls.append(1)\n"
        "    if len(calls) > 1:\n        raise ValueError('no more')\n    return inputs\n"
    )
    found = invoke(folder, "--attack", "later.py:later", "--batch-size", "10", "--output", "r.json")
    assert found.exit_code == 3
    attack = json.loads((folder / "r.json").read_text())["variants"][0]["attacks"][0]
    assert attack["message"] == "attack later.py:later failed: ValueError: no more (later.py, line 5)"


@pytest.mark.integration
def test_own_parts_work_in_dry_runs_sweeps_and_several_budgets(folder):
    (folder / "mine.py").write_text(
        "def shift(model, inputs, labels, *, eps, size=1.0):\n    return (inputs + size * eps).clamp(0, 1)\n"
        "def half(mean, variance, count):\n    return mean / 2, variance\n"
        "def top(logits, labels):\n    return logits.amax(dim=1)\n"
    )
    words = ["--attack", "mine.py:shift:size=0.5", "--eps", "2/255,8/255", "--bn", "mine.py:half", "--metric",
             "mine.py:top"]  # fmt: skip
    dry = invoke(folder, *words, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "mine.py:shift" in dry.output
    found = invoke(folder, *words, "--output", "r.json")
    assert found.exit_code == 0, found.output
    attacks = json.loads((folder / "r.json").read_text())["variants"][0]["attacks"]
    assert [round(attack["eps"] * 255) for attack in attacks] == [2, 8]
    sweep = CliRunner().invoke(
        app, ["evaluate", "net.py:make", "net.py:no_bn", "--data", write_data(folder, n=30), "--weights", "none", "-q",
              "--attack", "mine.py:shift", "--metric", "mine.py:top", "--output", "runs/"],
    )  # fmt: skip
    assert sweep.exit_code == 0, sweep.output
    assert len(list((folder / "runs").glob("*.json"))) >= 2


@pytest.mark.integration
def test_weights_trained_with_an_own_estimator_are_evaluated_with_it(folder):
    (folder / "mine.py").write_text("def half(mean, variance, count):\n    return mean / 2, variance\n")
    data = write_data(folder, n=30)
    trained = CliRunner().invoke(
        app, ["train", "net.py:make", "--data", data, "--bn", "mine.py:half", "--epochs", "2", "--output",
              "w.safetensors", "-q"],
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    found = CliRunner().invoke(
        app,
        [
            "evaluate",
            "net.py:make",
            "--data",
            data,
            "--weights",
            "w.safetensors",
            "--output",
            "r.json",
            "-q",
            "--trust-code",
        ],
    )
    assert found.exit_code == 0, found.output
    variant = json.loads((folder / "r.json").read_text())["variants"][0]
    assert (variant["bn"], variant["conversion"]) == ("mine.py:half", "before-training")
    assert "notes" not in json.loads((folder / "r.json").read_text())["model"]
    (folder / "mine.py").write_text("def half(mean, variance, count):\n    return mean / 4, variance\n")
    edited = CliRunner().invoke(
        app,
        [
            "evaluate",
            "net.py:make",
            "--data",
            data,
            "--weights",
            "w.safetensors",
            "--output",
            "edited.json",
            "-q",
            "--trust-code",
        ],
    )
    assert edited.exit_code == 0, edited.output
    (note,) = json.loads((folder / "edited.json").read_text())["model"]["notes"]
    assert note.startswith("mine.py:half has been edited since these weights were trained with it")
    (folder / "mine.py").unlink()
    gone = CliRunner().invoke(
        app, ["evaluate", "net.py:make", "--data", data, "--weights", "w.safetensors", "-q", "--trust-code"]
    )
    assert gone.exit_code == 2


@pytest.mark.integration
def test_an_edit_of_an_own_part_refuses_to_resume(folder):
    code = (
        "import os\ndef mine(model, inputs, labels):\n    if {}:\n        raise KeyboardInterrupt\n    return inputs\n"
    )
    (folder / "mine.py").write_text(code.format("not os.path.exists('go')"))
    words = ["--attack", "mine.py:mine", "--output", "r.json"]
    assert invoke(folder, *words).exit_code == 130
    (folder / "go").touch()
    assert invoke(folder, *words, "--resume").exit_code == 0
    (folder / "go").unlink()
    assert invoke(folder, "--attack", "mine.py:mine", "--output", "other.json").exit_code == 130
    (folder / "mine.py").write_text(code.format("False"))
    refused = invoke(folder, "--attack", "mine.py:mine", "--output", "other.json", "--resume")
    assert refused.exit_code == 2
