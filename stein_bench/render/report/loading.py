"""Notes on how the model's and the data's files were read."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.report.document import Report

UNSCALED = "none"
"""Start of the origin of an input scaling that neither a user nor weights or model state."""


def loading_notes(report: Report) -> Iterator[str]:
    """Yield what the report says about the reading of model, weights and data."""
    yield from (f"model: {note}" for note in report.model.notes or ())
    if report.model.weights.kind in ("file", "own") and report.model.preprocessing.origin.startswith(UNSCALED):
        yield "model: it gets inputs in [0, 1]; if it was trained on scaled ones, give --mean and --std"
    yield from (f"data: {note}" for note in report.data.notes or ())
