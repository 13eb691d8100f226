"""Runs on the CPU and on the imitated device, and what must be equal in their reports."""

from __future__ import annotations

from typing import Any

import pytest

from stein_bench.config import make_config
from stein_bench.evaluation.run import run_evaluation
from stein_bench.report.document import Report
from tests.imitation import imitation_cuda
from tests.imitation.runtime import NAME

RUN_ONLY = ("run", "seconds", "adversarials", "file", "line")
"""Parts of a report that are not results, and places in the code, which on the imitated device may be its own."""


def evaluate(device: str, **options: Any) -> Report:
    """Run an evaluation on that device."""
    return run_evaluation(make_config({**options, "device": device}))


def evaluate_on_both(**options: Any) -> tuple[Report, Report]:
    """Run an evaluation on the CPU and on the imitated device, and check that the results are the same.

    Batches are refilled on the device only, as is the default; the numbers of passes are the same nevertheless.
    """
    expected = evaluate("cpu", **options)
    with imitation_cuda() as device:
        found = evaluate("cuda", **options)
    assert not device.mixes, f"mixed devices: {dict(device.mixes)}"
    assert found.run.environment.device == f"cuda ({NAME})"
    assert_complete(found)
    assert_same(found, expected)
    return expected, found


def assert_complete(report: Report) -> None:
    """Check that every attack and every corruption ran."""
    for variant in report.variants:
        parts = [*variant.attacks, *variant.corruptions]
        assert [(part.label, part.message) for part in parts if part.status != "ok"] == []


def assert_same(found: Report, expected: Report) -> None:
    """Check that the results are the same: verdicts of every sample exactly, numbers up to rounding."""
    assert [variant.outcomes for variant in found.variants] == [variant.outcomes for variant in expected.variants]
    _assert_same(found.model_dump(), expected.model_dump(), "")


def _assert_same(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected.keys() - set(RUN_ONLY):
            _assert_same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            _assert_same(*pair, f"{where}/{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5, nan_ok=True), where
    else:
        assert found == expected, where
