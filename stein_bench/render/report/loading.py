"""Notes on how the model's and the data's files were read."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.report.document import Report


def loading_notes(report: Report) -> Iterator[str]:
    """Yield what the report says about the reading of model, weights and data."""
    yield from (f"model: {note}" for note in report.model.notes or ())
    yield from (f"data: {note}" for note in report.data.notes or ())
