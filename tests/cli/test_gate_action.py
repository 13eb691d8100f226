"""The GitHub Action: its shell steps run here as on GitHub, with stubs for the slow ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.reports import FGSM, PGD, bits, report, variant

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
DOCS = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="the Action's steps are bash scripts")

STUB = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$CALLS/$1"
if [ "$1" = evaluate ]; then
  for word in "$@"; do
    case "$word" in --output=*) cp -- "$CALLS/prepared.json" "${word#--output=}" || exit 1 ;; esac
  done
else
  exec "$PYTHON" -m stein_bench "$@"
fi
"""
PYTHON_STUB = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$CALLS/python"
"""


class Job:
    """A folder, an environment and the Action's shell steps."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = folder / "calls"
        binaries = folder / "bin"
        for path in (self.calls, binaries):
            path.mkdir()
        for name, text in (("stein-bench", STUB), ("python", PYTHON_STUB)):
            (binaries / name).write_text(text)
            (binaries / name).chmod(0o755)
        self.environment = {
            **os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "CALLS": str(self.calls),
            "PYTHON": sys.executable, "GITHUB_OUTPUT": str(folder / "output"), "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(folder / "summary"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def run(self, **inputs):
        """Run the steps in order until one fails; return its exit code, or 0."""
        values = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()} | inputs
        for step in ACTION["runs"]["steps"]:
            if "run" not in step:
                continue
            assert step["shell"] == "bash"
            environment = {key: self.substituted(text, values) for key, text in step.get("env", {}).items()}
            command = [BASH, "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            code = subprocess.run(command, cwd=self.folder, env=self.environment | environment, check=False).returncode
            if code:
                return code
        return 0

    @staticmethod
    def substituted(text, values):
        values = {f"inputs.{name}": value for name, value in values.items()} | {"github.action_path": "/the action"}
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: values[found[1]], text)

    def arguments(self, command):
        return (self.calls / command).read_text().splitlines()

    @property
    def verdict(self):
        return (self.folder / "output").read_text()


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


BASELINE = report(variant())
WORSE = report(variant(attacks={FGSM: bits(70), PGD: bits(80)}))


def prepare(job, now, before=BASELINE):
    (job.calls / "prepared.json").write_text(now.to_json())
    (job.folder / "base line.json").write_text(before.to_json())
    return {"model": "net.py:make", "baseline": "base line.json"}


@pytest.mark.integration
def test_a_build_that_got_no_worse_passes(job):
    inputs = prepare(job, BASELINE)
    assert job.run(**inputs, arguments="--data npz:test.npz\n  --attack pgd:eps=8/255 --bn * ") == 0
    assert job.verdict == "verdict=passed\n"
    assert job.arguments("python") == ["-m", "pip", "install", "--", "/the action"]
    assert job.arguments("evaluate") == [
        "evaluate", "--data", "npz:test.npz", "--attack", "pgd:eps=8/255", "--bn", "*",
        "--output=stein-bench-report.json", "--", "net.py:make",
    ]  # fmt: skip
    assert (job.folder / "stein-bench-gate.xml").exists()
    assert (job.folder / "summary").read_text() == (job.folder / "stein-bench-gate.md").read_text()


@pytest.mark.integration
def test_a_build_that_got_worse_fails(job):
    assert job.run(**prepare(job, WORSE)) == 1
    assert job.verdict == "verdict=failed\n"
    assert "regression" in (job.folder / "stein-bench-gate.md").read_text()
    assert "--policy" not in job.arguments("gate")


@pytest.mark.integration
def test_a_report_of_other_data_is_refused(job):
    assert job.run(**prepare(job, report(data="e"))) == 3
    assert job.verdict == "verdict=refused\n"


def test_the_policy_is_passed_on(job):
    inputs = prepare(job, WORSE)
    (job.folder / "my policy.yaml").write_text("tolerance: 0.9")
    assert job.run(**inputs, policy="my policy.yaml") == 0


def test_a_missing_baseline_fails_unless_it_is_allowed(job):
    inputs = prepare(job, BASELINE) | {"baseline": "none.json"}
    assert job.run(**inputs) == 2
    assert job.verdict == "verdict=\n"
    (job.folder / "output").unlink()
    assert job.run(**inputs, **{"allow-missing-baseline": "true"}) == 0
    assert job.verdict == "verdict=none\n"


def test_an_evaluation_that_fails_ends_the_build(job):
    inputs = prepare(job, BASELINE)
    (job.calls / "prepared.json").unlink()
    assert job.run(**inputs) not in (0, 3)
    assert not (job.folder / "output").exists()


@pytest.mark.integration
def test_inputs_cannot_run_as_code(job):
    inputs = prepare(job, BASELINE)
    hostile = '"; touch hacked; $(touch hacked) `touch hacked` #'
    job.run(**(inputs | {"model": hostile, "arguments": hostile}), package=hostile)
    assert not (job.folder / "hacked").exists()
    assert job.arguments("python")[-1] == hostile
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


@pytest.mark.integration
def test_inputs_are_no_options(job):
    inputs = prepare(job, BASELINE)
    assert job.run(**(inputs | {"model": "--help", "report": "--help"}), package="--help") == 0
    assert job.arguments("python")[-2:] == ["--", "--help"]
    assert job.arguments("evaluate")[-3:] == ["--output=--help", "--", "--help"]
    assert job.verdict == "verdict=passed\n"


def test_every_input_is_described_and_used_and_documented():
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    for name, spec in ACTION["inputs"].items():
        assert spec["description"]
        assert f"${{{{ inputs.{name} }}}}" in text, name
        assert f"| `{name}` |" in DOCS, name
        assert spec.get("required", False) != ("default" in spec), name


def test_the_documented_workflow_uses_what_the_action_has():
    (text,) = re.findall(r"```yaml\n(name: robustness\n.*?)```", DOCS, re.DOTALL)
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["gate"]["steps"]
    (gate,) = [step for step in steps if "stein-bench@" in step.get("uses", "")]
    assert gate["with"].keys() <= ACTION["inputs"].keys()
    assert {name for name, spec in ACTION["inputs"].items() if spec.get("required")} <= gate["with"].keys()
    used = set(re.findall(rf"steps\.{gate['id']}\.outputs\.([\w-]+)", text))
    assert used
    assert used <= ACTION["outputs"].keys()
    for step in steps:
        if "run" in step:
            assert subprocess.run([BASH, "-n", "-c", step["run"]], check=False).returncode == 0
            assert "${{" not in step["run"]
