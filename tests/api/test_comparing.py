"""`stein_bench.compare` and `stein_bench.gate`: the commands' documents for reports in memory or in files."""

from __future__ import annotations

import json

import pytest
import torch

import stein_bench
from stein_bench import UsageError
from tests.api.brightest import brightest, network


def evaluated(factor=1.0, **options):
    """Return the report of a network whose last channel counts more: a larger factor breaks samples."""
    model = network()
    with torch.no_grad():
        model[5].weight[2] *= factor
    return stein_bench.evaluate(model, brightest(200), "fgsm", eps=2 / 255, progress=False, **options)


@pytest.fixture(scope="module")
def before():
    return evaluated()


@pytest.fixture(scope="module")
def after():
    return evaluated(1.15)


def test_two_reports_are_compared_as_the_command_does(before, after, tmp_path):
    from typer.testing import CliRunner

    from stein_bench.cli.commands import app

    for name, report in (("before", before), ("after", after)):
        report.save(tmp_path / f"{name}.json")
    pairs = stein_bench.compare(tmp_path / "before.json", str(tmp_path / "after.json"))
    words = ["compare", str(tmp_path / "before.json"), str(tmp_path / "after.json"), "--format", "json"]
    printed = CliRunner().invoke(app, words).stdout
    assert json.loads(pairs.to_json()) == json.loads(printed)
    in_memory = stein_bench.compare(before, after)
    assert in_memory.rows == pairs.rows
    assert [source.name for source in in_memory.sources] == ["Sequential 1", "Sequential 2"]
    clean = in_memory.rows[0]
    lost = int((before.outcomes() & ~after.outcomes()).sum())
    assert (clean.accuracy, clean.difference.lost) == ("clean", lost)
    assert "Sequential 2" in in_memory.summary()
    assert "<pre" in in_memory._repr_html_()


def test_one_report_compares_its_variants_and_three_make_a_leaderboard(before, after):
    board = stein_bench.compare(before, after, before)
    assert board.kind == "leaderboard"
    assert len(board.rows) == 3
    with pytest.raises(UsageError, match="one variant: there is nothing to compare"):
        stein_bench.compare(before)
    with pytest.raises(UsageError, match="no report given"):
        stein_bench.compare()


def test_the_gate_passes_a_report_against_itself_and_fails_one_that_is_worse(before, after):
    assert stein_bench.gate(before, before).passed
    verdict = stein_bench.gate(after, before)
    assert not verdict.passed
    assert verdict.verdict == "failed"
    assert "Gate failed" in verdict.summary()
    assert stein_bench.gate(after, before, {"tolerance": 0.99}).passed
    assert not stein_bench.gate(before, before, {"rules": [{"accuracy": "clean", "minimum": 1.0}]}).passed


def test_a_policy_may_be_a_file(before, tmp_path):
    (tmp_path / "gate.yaml").write_text("rules:\n- accuracy: clean\n  minimum: 1.0\n")
    before.save(tmp_path / "base.json")
    assert not stein_bench.gate(before, tmp_path / "base.json", tmp_path / "gate.yaml").passed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda report: stein_bench.gate(report, "nowhere.json"), "cannot read the report 'nowhere.json'"),
        (lambda report: stein_bench.gate(report, 3), "a int is no report"),
        (lambda report: stein_bench.gate(report, report, {"tolerence": 1}), "policy: tolerence"),
        (lambda report: stein_bench.gate(report, report, {"tolerance": 7}), "policy: tolerance"),
        (lambda report: stein_bench.compare(report, None), "a NoneType is no report"),
    ],
)
def test_wrong_arguments_get_one_line(call, message, before):
    with pytest.raises(UsageError, match=message):
        call(before)


def test_in_a_console_they_are_short(before, after):
    assert repr(stein_bench.compare(before, after)) == "<Pairs: 2 comparisons, 2 significant>"
    assert repr(stein_bench.compare(before, after, before)) == "<Board: 3 variants of 3 reports>"
    assert repr(stein_bench.gate(before, before)).startswith("<Verdict: passed: ")
