"""Corruptions in a whole run: a part of the report of their own, never an attack, never in the worst case."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from stein_bench.attacks import noise
from stein_bench.cli.commands import app
from stein_bench.config import make_config
from stein_bench.evaluation import outcomes
from stein_bench.evaluation.run import run_evaluation
from stein_bench.report.document import Report, report_schema
from stein_bench.report.packing import unpack_bits


def run(model: str, data: str, **options: object) -> Report:
    return run_evaluation(make_config({"model": model, "data": data, "eps": "12/255", **options}))


def test_a_corruption_is_judged_on_the_corrupted_input_alone_over_its_draws(model: str, data: str) -> None:
    report = run(model, data, attack=["noise-gaussian:std=0.4,seeds=4", "fgsm"])
    (variant,) = report.variants
    assert [attack.name for attack in variant.attacks] == ["fgsm"]
    (corruption,) = variant.corruptions
    draws = [unpack_bits(text, 60) for text in variant.outcomes.corrupted_correct[corruption.label]]
    assert len(draws) == 4
    assert corruption.accuracies == pytest.approx([bits.mean() for bits in draws])
    assert corruption.accuracy == pytest.approx(np.mean(draws))
    assert corruption.worst_accuracy == pytest.approx(np.all(draws, axis=0).mean())
    assert corruption.worst_accuracy < corruption.accuracy
    assert corruption.ci95[0] < corruption.accuracy < corruption.ci95[1]
    assert corruption.forward_passes == 240
    assert variant.worst_case_accuracy == variant.attacks[0].robust_accuracy
    jsonschema.validate(report.model_dump(mode="json"), report_schema())


@pytest.mark.usefixtures("unchecked")
def test_draws_do_not_depend_on_the_batch_size(model: str, data: str) -> None:
    whole, parts = (run(model, data, attack=["noise-uniform:std=0.3"], batch_size=size) for size in (60, 7))
    assert whole.variants[0].outcomes.corrupted_correct == parts.variants[0].outcomes.corrupted_correct
    assert whole.variants[0].worst_case_accuracy is None


@pytest.mark.usefixtures("unchecked")
def test_predictions_of_corrupted_inputs_make_no_gradients(
    model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take the memory of a backward pass."""
    real, enabled = outcomes.corrupt, []

    def noted(*arguments: object) -> object:
        enabled.append(torch.is_grad_enabled())
        return real(*arguments)

    monkeypatch.setattr(outcomes, "corrupt", noted)
    run(model, data, weights="none", attack=["noise-gaussian"])
    assert set(enabled) == {False}


def test_a_corruption_that_fails_is_said_so(model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("no noise today")

    monkeypatch.setitem(noise.NOISES, "noise-gaussian", fault)
    report = run(model, data, attack=["noise-gaussian", "fgsm"])
    (corruption,) = report.variants[0].corruptions
    assert (corruption.status, corruption.accuracy, corruption.accuracies) == ("failed", None, [])
    assert report.dishonest() == ["sample (running), noise-gaussian: failed: RuntimeError: no noise today"]
    assert report.variants[0].worst_case_accuracy is not None


def test_the_table_marks_corruptions(model: str, data: str, tmp_path: Path) -> None:
    arguments = ["evaluate", model, "--data", data, "--attack", "noise-salt-and-pepper", "--attack", "fgsm"]
    result = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "salt-and-pepper†" in result.stdout
    assert "† random noise, not an attack" in result.stdout
    assert "mean of 3 draws" in result.stdout
