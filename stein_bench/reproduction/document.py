"""The document of a whole experiment: every cell's figures, and what they say together. Read without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stein_bench.report.document import DataInfo, Environment, document_schema, read_document
from stein_bench.report.results import Document, Part, Sha256, Share

KIND = "reproduction"
VERSION = 1

Stats = Literal["running", "batch"]


class Cell(Part):
    """One trained network under one statistics source, put through the attacks of one part."""

    part: str
    bn: str
    stats: Stats
    seed: int
    report: str | None = Field(
        description="file of the cell's own report in the folder of the cells; null if it failed"
    )
    report_sha256: Sha256 | None
    weights: str | None = Field(description="file of the trained weights in the folder of the cells; null if it failed")
    weights_sha256: Sha256 | None = Field(description="over names, types, shapes and values")
    distrusted: list[str] = Field(description="results of the cell that cannot be trusted, one line each")
    failed_checks: list[str] = Field(description="sanity checks that failed, one line each")


class Contrast(Part):
    """A difference of two rows' figures, paired by seed: the seed is the replicate."""

    kind: Literal["estimator", "source"] = Field(
        description="estimator: minus plain BN under the same statistics; source: batch minus running statistics"
    )
    against: str = Field(description="the variant that is subtracted, e.g. sample/running")
    seeds: int
    mean: float
    sd: float | None = Field(description="of the differences, n - 1; null with one seed")
    ci95: tuple[float, float] | None = Field(
        description="95 % paired t interval; null with one seed or equal differences"
    )
    p: Share | None = Field(description="two-sided paired t test; null with one seed or equal differences")
    p_adjusted: Share | None = Field(description="after Holm over all contrasts of its kind in the document")


class Row(Part):
    """One figure of one variant over the seeds."""

    part: str
    bn: str
    stats: Stats
    outcome: str = Field(description="clean, worst-case, or the label of an attack or corruption")
    title: str = Field(description="the outcome in short")
    metric: str
    seeds: list[int]
    values: list[float | None] = Field(description="one per seed; null where the cell has no figure that counts")
    mean: float | None
    sd: float | None = Field(description="over seeds, n - 1")
    confounded: bool = Field(
        description="its BN and its source of statistics both differ from plain BN's row: no contrast is drawn"
    )
    contrasts: list[Contrast]


class ExperimentRun(Part):
    """Provenance of the document."""

    id: str
    created: str = Field(description="start of the last run, UTC, ISO 8601")
    command: str
    environment: Environment
    wall_seconds: float = Field(description="of the last run; finished cells were taken over")


def _supported(version: object) -> object:
    if version != VERSION:
        raise ValueError(f"this version of stein-bench reads schema_version {VERSION} of it, not {version!r}")
    return version


class Reproduction(Document):
    """What `stein-bench reproduce` found."""

    schema_version: Annotated[Literal[1], BeforeValidator(_supported)]
    kind: Literal["reproduction"]
    run: ExperimentRun
    experiment: dict[str, Any] = Field(description="as run, under the keys of its file")
    model: str
    parameters: int
    data: DataInfo
    training_data_sha256: Sha256
    seeds: list[int]
    cells: list[Cell]
    rows: list[Row]
    collapsed: list[str] = Field(description="variants that no longer do their task, one line each")
    notes: list[str] = Field(description="of the experiment: how its tables are to be read")

    def dishonest(self) -> list[str]:
        """Return one line for each result of a cell that cannot be trusted."""
        return list(self._distrusted())

    def _distrusted(self) -> Iterator[str]:
        for cell in self.cells:
            where = f"{cell.part}, {cell.bn}/{cell.stats}, seed {cell.seed}"
            yield from (f"{where}: {line}" for line in cell.distrusted)


def reproduction_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the document."""
    return document_schema(Reproduction)


def read_reproduction(path: str | Path) -> Reproduction:
    """Read a document back.

    Raises:
        UsageError: the file is missing, not JSON, or no such document.
    """
    return read_document(path, Reproduction, "document of reproduce")
