"""Hand-made reports, the command line, and golden files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from page_reports import cell, diagnostic, replaced, report

from stein_bench.adversarials import write_adversarials
from stein_bench.cli.commands import app
from stein_bench.effects import with_effects
from stein_bench.files import write_text

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def whole():
    """A report with everything that a page can show."""
    cells = [cell("sample", "running", 100), cell("stein", "running", 70), cell("sample", "batch", 60),
             cell("stein", "batch", 55)]  # fmt: skip
    checks = [diagnostic("pass", name="repeatable", variant="stein/running", message="the same"),
              diagnostic("warn", name="step-budget", message="alpha·steps is 1.5 times eps"),
              diagnostic("fail", name="batch-dependence", variant="stein/batch", message="4.0 % flip")]  # fmt: skip
    return report(*with_effects(cells, 10, "classification"), diagnostics=checks)


@pytest.fixture
def save(tmp_path):
    """Write a report, with examples beside it if there are some, and return its path."""

    def write(report, name="report.json", examples=(), classes=("zero", "one")):
        path = tmp_path / name
        if examples:
            saved = write_adversarials(path.with_suffix(".adversarials.npz"), examples, classes, len(examples))
            report = replaced(report, adversarials=saved)
        write_text(path, report.to_json())
        return path

    return write


@pytest.fixture
def invoke():
    """Run the command line in 80 columns without colour."""

    def run(*arguments):
        runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
        return runner.invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def is_golden():
    """Hold a text against the stored one; written with STEIN_BENCH_WRITE_GOLDEN=1."""

    def check(text, name):
        if os.environ.get("STEIN_BENCH_WRITE_GOLDEN"):
            (GOLDEN / name).write_text(text, encoding="utf-8")
        assert text == (GOLDEN / name).read_text(encoding="utf-8")

    return check
