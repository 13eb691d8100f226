"""`--log` on the command line: checked before a run, after the report, and never at its cost."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from stein_bench.evaluation import run
from stein_bench.report.document import read_report
from stein_bench.trackers import log
from tests import reports

pytestmark = pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs the extra tensorboard")

SHORT = ["--weights", "none", "--limit", "4", "--attack", "fgsm", "--batch-size", "4"]


@pytest.fixture
def here(tmp_path, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def broken(monkeypatch):
    """A tracker that fails."""

    def fail(runs, options):
        raise ConnectionError("the server is away")

    monkeypatch.setattr(log, "LOGS", {"tensorboard": fail, "wandb": fail})


def test_an_evaluation_is_logged_after_its_report(here, invoke, model, data):
    result = invoke("evaluate", model, "--data", data, *SHORT, "--bn", "sample", "--bn", "stein", "--output", "r.json",
                    "--format", "json", "--log", "tensorboard:dir=tb")  # fmt: skip
    assert result.exit_code == 0
    report = read_report(here / "r.json")
    assert json.loads(result.stdout)["run"]["id"] == report.run.id
    assert report.run.config["log"] == ["tensorboard:dir=tb"]
    assert result.stderr.endswith("logged: tensorboard, in tb: see with tensorboard --logdir tb\n")
    assert len(list(here.glob("tb/*/*/events*"))) == 2


def test_logging_does_not_change_the_identity_of_a_run(here, invoke, model, data):
    plain, logged = "plain.json", "logged.json"
    invoke("evaluate", model, "--data", data, *SHORT, "--output", plain)
    invoke("evaluate", model, "--data", data, *SHORT, "--output", logged, "--log", "tensorboard")
    first, second = read_report(plain), read_report(logged)
    assert first.run.config_sha256 == second.run.config_sha256
    assert "log" not in first.run.config


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_a_wrong_tracker_ends_it_before_anything_is_computed(here, invoke, model, data, monkeypatch, extra):
    monkeypatch.setattr(run, "run_evaluation", lambda *_, **__: pytest.fail("it was evaluated"))
    result = invoke("evaluate", model, "--data", data, *SHORT, "--log", "tensorbord", *extra)
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr == "stein-bench: unknown tracker of --log: 'tensorbord'. Did you mean 'tensorboard'?\n"


def test_a_dry_run_logs_nothing(here, invoke, model, data):
    result = invoke("evaluate", model, "--data", data, *SHORT, "--log", "tensorboard", "--dry-run")
    assert result.exit_code == 0
    assert "logged" not in result.stderr
    assert not (here / "runs").exists()


def test_a_tracker_that_fails_costs_no_report(here, invoke, model, data, broken):
    result = invoke("evaluate", model, "--data", data, *SHORT, "--output", "r.json", "--log", "tensorboard")
    assert result.exit_code == 3
    assert "robust %" in result.stdout
    assert read_report(here / "r.json").variants
    assert result.stderr.splitlines()[-2:] == [
        "report: r.json", "stein-bench: --log tensorboard failed: ConnectionError: the server is away",
    ]  # fmt: skip


@pytest.mark.integration
def test_a_sweep_logs_each_model_that_has_a_report(here, invoke):
    sweep = ["evaluate", "test_resnet", "timm:test_vit3", "timm:test_vit2", *SHORT, "--output", "runs/"]
    result = invoke(*sweep, "--log", "tensorboard:dir=tb", "--quiet")
    assert result.exit_code == 3
    logged = {read_report(path).model.name for path in here.rglob("tb/*/*/report.json")}
    assert logged == {"test_resnet", "test_vit2"}
    again = invoke(*sweep, "--log", "tensorboard:dir=again", "--resume")
    assert "logged" not in again.stderr


def test_an_existing_report_can_be_logged(here, invoke, save):
    path = save(reports.report(reports.variant(), reports.variant("stein")))
    result = invoke("report", path, "--log", "tensorboard:dir=tb", "--markdown", "r.md")
    assert (result.stdout, result.exit_code) == ("", 0)
    assert len(list(here.glob("tb/*/*/events*"))) == 2
    assert Path("r.md").exists()


def test_a_report_that_could_not_be_logged_exits_with_3(here, invoke, save, broken):
    result = invoke("report", save(reports.report()), "--log", "tensorboard")
    assert (result.stdout, result.exit_code) == ("", 3)
    assert result.stderr == "stein-bench: --log tensorboard failed: ConnectionError: the server is away\n"
