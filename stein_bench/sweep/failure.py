"""What is kept of a model that failed, beside the reports of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stein_bench.report.results import Document, is_none

SUFFIX = ".failed.json"


class Failure(Document):
    """Why a model of a sweep has no report."""

    sweep_failure: Literal[1] = 1
    name: str = Field(description="that of the report it would have")
    model: str
    reason: str
    retried_from: int | None = Field(
        default=None, exclude_if=is_none, description="the batch size that ran out of memory first"
    )
    next_batch_size: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="it is being tried again in batches of this size; omitted once it has failed",
    )


def failure_path(folder: Path, name: str) -> Path:
    """Return the file of the failure of the model whose report would have this `name`."""
    return folder / f"{name}{SUFFIX}"
