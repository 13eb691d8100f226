"""The command line as users meet it, and reports on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stein_bench.cli.commands import app
from stein_bench.files import write_text

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def invoke():
    """Run the command line in 80 columns without colour."""

    def run(*arguments, **environment):
        runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", **environment})
        return runner.invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def save(tmp_path):
    """Write a report and return its path."""

    def write(report, name="report.json"):
        write_text(tmp_path / name, report.to_json())
        return tmp_path / name

    return write


@pytest.fixture
def is_golden():
    """Hold a text against the stored one; written with STEIN_BENCH_WRITE_GOLDEN=1."""

    def check(text, name):
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
        if os.environ.get("STEIN_BENCH_WRITE_GOLDEN"):
            (GOLDEN / name).write_text(text, encoding="utf-8")
        assert text == (GOLDEN / name).read_text(encoding="utf-8")

    return check
