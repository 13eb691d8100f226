"""A sweep on the command line: what it prints and writes, its exit codes, and one line for every mistake."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.interrupts import popen_interruptible

Invoke = Callable[..., Result]

SHORT = ["--weights", "none", "--limit", "4", "--attack", "fgsm"]
BROKEN = "timm:test_vit3"
"""Rejects images of digits."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None) -> Path:
    """The folder of a sweep, which does not exist yet, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def one_line(result: Result) -> str:
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.startswith("stein-bench: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.integration
def test_a_sweep_prints_the_leaderboard_that_compare_prints(invoke: Invoke, runs: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "test_resnet", BROKEN, "timm:test_vit2", *SHORT, "--output", "runs/"]
    result = invoke(*arguments, COLUMNS="100")
    assert result.exit_code == 3
    assert "model 2 of 3: timm:test_vit3 (1 left" in result.stderr
    assert result.stderr.endswith("reports: runs\n")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert sorted(line.split()[1] for line in lines if line[:2] in ("1 ", "2 ", "† ")) == [
        "test_resnet", "timm-test_vit2", "timm-test_vit3",
    ]  # fmt: skip
    assert "† timm-test_vit3 (timm:test_vit3): failed: test_vit3 rejects inputs" in result.stdout
    assert sorted(path.name for path in runs.iterdir()) == [
        "sweep.json", "test_resnet.json", "timm-test_vit2.json", "timm-test_vit3.failed.json",
    ]  # fmt: skip
    (runs / "card.json").write_text('{"model": "a training card"}')
    (runs / "resnet.json.partial").write_text("a journal")
    outputs = ["--markdown", "board.md", "--csv", "board.csv", "--latex", "board.tex", "--output", "board.json"]
    compared = invoke("compare", "runs", *outputs, COLUMNS="100")
    assert (compared.exit_code, compared.stdout) == (0, result.stdout)
    for name in ("board.md", "board.tex"):
        assert "failed: test" in Path(name).read_text()
    reasons = {row["report"]: row["reason"] for row in csv.DictReader(io.StringIO(Path("board.csv").read_text()))}
    assert reasons["timm-test_vit3"].startswith("failed: test_vit3 rejects inputs of shape")
    again = invoke(*arguments, "--resume", "--format", "json", "--quiet")
    assert (again.exit_code, again.stderr) == (3, "")
    assert json.loads(again.stdout) == json.loads(Path("board.json").read_text())
    assert "add --resume to continue" in one_line(invoke(*arguments))


@pytest.mark.integration
def test_fewer_than_two_finished_models_are_shown_too(invoke: Invoke, runs: Path) -> None:
    arguments = ["evaluate", "test_resnet", BROKEN, *SHORT, "--output", "runs/", "--resume", "--shard"]
    nothing = invoke(*arguments, "2/2", "--format", "json")
    board = json.loads(nothing.stdout)
    assert nothing.exit_code == 3
    assert [one["name"] for one in board["failed"]] == ["timm-test_vit3"]
    assert board["notes"] == ["models of the sweep without a report so far: 1 (test_resnet)"]
    assert invoke("compare", "runs").exit_code == 3
    one = invoke(*arguments, "1/2")
    assert one.exit_code == 0
    assert "test_resnet" in one.stdout
    empty = invoke(*arguments, "3/3")
    assert empty.exit_code == 0
    assert "--shard 3/3: none of the 2 models is in this part" in empty.stderr


@pytest.mark.integration
def test_honest_reports_of_all_models_exit_with_0(invoke: Invoke, runs: Path) -> None:
    large = "test_resnet eps=8/255 save-adversarials=1 name=large"
    Path("models.txt").write_text(f"# two budgets for one network\ntest_resnet eps=4/255 name=small\n{large}\n")
    result = invoke("evaluate", "--models", "models.txt", *SHORT, "--output", "runs/")
    assert result.exit_code == 0, result.output
    assert {"small.json", "large.json"} <= {path.name for path in runs.iterdir()}
    for name, eps in (("small", 4 / 255), ("large", 8 / 255)):
        assert json.loads((runs / f"{name}.json").read_text())["run"]["config"]["eps"] == [pytest.approx(eps)]


@pytest.mark.integration
def test_dishonest_results_of_one_model_exit_with_3(
    invoke: Invoke, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stein_bench.attacks import native

    monkeypatch.setattr(native, "fgsm", lambda network, inputs, *rest, **options: inputs + 0.5)
    arguments = ["evaluate", "test_resnet", *SHORT, "--output", "runs/"]
    assert invoke(*arguments).exit_code == 3
    assert invoke(*arguments, "--resume").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test_resnet", "test_vit"], "several models (test_resnet, test_vit): give --output DIR/"),
        (["timm:test_vit?"], "a sweep: give --output DIR/"),
        (["a", "b", "--output", "report.json"], "--output report.json names a file"),
        (["test_resnet", "--shard", "5/4", "--output", "runs/"], "--shard 5/4: there is no part 5 of 4"),
        (["test_resnet", "--shard", "0/4", "--output", "runs/"], "--shard 0/4"),
        (["test_resnet", "--shard", "x"], "--shard x: it must be I/N"),
        (["test_resnet", "--retry-oom"], "--retry-oom is for sweeps"),
        (["timm:resnt1*", "--output", "runs/"], "no model of timm matches 'resnt1*'. Did you mean"),
        (["test_resnet", "8/255", "--eps", "4/255"], "(8/255). A list of numbers is one word, as in 4/255,8/255."),
        (["test_resnet", "0.5", "0.5", "--output", "runs/"], "unexpected extra argument (0.5 0.5). A list of numbers"),
        (["--models", "missing.txt", "--output", "runs/"], "cannot read the list of models 'missing.txt'"),
        (["a", "b", "--attack", "pgdd", "--output", "runs/"], "unknown attack 'pgdd'"),
        (["a", "b", "--data", "npz:missing.npz", "--output", "runs/"], "missing.npz: no such file"),
        (["a", "b", "--output", "a.txt/"], "a.txt/ is a file"),
        (["a", "b", "--output", "a.txt/runs/"], "cannot create the folder a.txt/runs"),
    ],
)
def test_each_mistake_is_one_line_before_anything_is_written(
    invoke: Invoke, runs: Path, arguments: list[str], message: str
) -> None:
    Path("a.txt").touch()
    assert message in one_line(invoke("evaluate", *arguments))
    assert [path.name for path in Path().iterdir() if path.name != "cache"] == ["a.txt"]


def test_a_report_does_not_overwrite_an_input_of_the_sweep(invoke: Invoke, runs: Path) -> None:
    runs.mkdir()
    (runs / "x.json").write_text("test_resnet name=x\n")
    before = (runs / "x.json").read_bytes()
    result = invoke("evaluate", "--models", "runs/x.json", *SHORT, "--output", "runs/")
    assert "--output runs/x.json would overwrite the list of models." in one_line(result)
    assert (runs / "x.json").read_bytes() == before


def test_a_folder_without_reports_is_one_line(invoke: Invoke, runs: Path) -> None:
    runs.mkdir()
    assert "the folder runs holds no report." in one_line(invoke("compare", "runs"))
    (runs / "a.json").write_text("{damaged")
    assert "runs/a.json is not JSON." in one_line(invoke("compare", "runs"))


@pytest.mark.integration
def test_ctrl_c_in_a_sweep_exits_with_130_and_keeps_what_is_done(tmp_path: Path) -> None:
    """A real process gets a real SIGINT in the middle of the second model's long attack."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\ndef make(num_classes, width=1):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    (tmp_path / "models.txt").write_text("net.py:make\nnet.py:make,width=2 attack=fgsm attack=pgd:steps=1000000\n")
    command = [sys.executable, "-m", "stein_bench", "evaluate", "--models", "models.txt", "--output", "runs/"]
    command += ["--trust-code", *SHORT, "--batch-size", "2"]
    process = popen_interruptible(["env", "-C", str(tmp_path), *command])
    runs, deadline = tmp_path / "runs", time.monotonic() + 120
    while time.monotonic() < deadline and not list(runs.glob("net.py-make-width-2.json.partial*")):
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    last = "stein-bench: interrupted; finished reports and batches are in runs: add --resume to continue."
    assert stderr.splitlines()[-1] == last
    assert {path.name for path in runs.glob("*.json")} == {"sweep.json", "net.py-make.json"}


@pytest.mark.integration
def test_compare_of_a_folder_does_not_import_torch(invoke: Invoke, runs: Path) -> None:
    invoke("evaluate", "test_resnet", BROKEN, *SHORT, "--output", "runs/")
    script = (
        "import sys\nfrom stein_bench.cli.commands import app\n"
        "try:\n    app(['compare', 'runs'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(', '.join({'torch', 'timm'} & sys.modules.keys()) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "timm-test_vit3" in done.stdout


def test_the_help_shows_sweeps(invoke: Invoke) -> None:
    text: Any = " ".join(invoke("evaluate", "--help").stdout.split())
    for words in ("'timm:resnet1*'", "--models FILE", "--shard I/N", "--retry-oom", "PATH|DIR/"):
        assert words in text
