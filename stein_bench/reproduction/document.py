"""The JSON document of an experiment: its cells and the summary of their results. Read without torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stein_bench.report.document import DataInfo, Environment, document_schema, read_document
from stein_bench.report.results import Document, Part, Sha256, Share, is_none

KIND = "reproduction"
VERSION = 1

Stats = Literal["running", "batch"]


class Cell(Part):
    """One trained network, evaluated under one statistics source with the attacks of one part."""

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
    """The difference between two rows, paired by seed: the seed is the replicate."""

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
    p_adjusted: Share | None = Field(description="after Holm correction over all contrasts of its kind in the document")


class Row(Part):
    """One metric of one variant and outcome, over the seeds."""

    part: str
    bn: str
    stats: Stats
    outcome: str = Field(description="clean, worst-case, or the label of an attack or corruption")
    title: str = Field(description="short name of the outcome")
    metric: str
    seeds: list[int]
    values: list[float | None] = Field(description="one per seed; null if the cell has no valid value")
    mean: float | None
    sd: float | None = Field(description="over seeds, n - 1")
    confounded: bool = Field(
        description="its BN and its statistics source both differ from plain BN's row: no contrast is computed"
    )
    contrasts: list[Contrast]


class Registered(Part):
    """A contrast that the experiment's file named before the results were known; the first is the main one."""

    part: str
    bn: str
    stats: Stats
    outcome: str
    title: str = Field(description="short name of the outcome")
    metric: str
    kind: Literal["estimator", "source"] = Field(description="as in the rows' contrasts")
    against: str = Field(description="the variant that is subtracted, e.g. sample/running")
    seeds: int = Field(description="that have a value of both variants")
    mean: float | None = Field(description="null without such a seed")
    sd: float | None
    ci95: tuple[float, float] | None = Field(description="95 % paired t interval of this contrast alone")
    p: Share | None
    p_adjusted: Share | None = Field(
        description="after Holm correction over the registered contrasts alone, those without a test included"
    )
    decided: bool = Field(description="whether the adjusted p is below 0.05")


class Power(Part):
    """What difference the seeds could show, from what was known before the first missing cell was run.

    All differences are shares, as everywhere in the document, and of the main contrast.
    """

    part: str
    bn: str
    stats: Stats
    outcome: str
    metric: str
    against: str
    seeds: int = Field(description="that the run started with")
    power: float = Field(description="with which a difference counts as detectable")
    level: float = Field(description="of the two-sided paired t test")
    effect: float | None = Field(
        description="the smallest true difference detected, in sd of the differences; null for one seed"
    )
    sd: float | None = Field(description="of the differences between seeds, in the pilot; null without one")
    sd_ci95: tuple[float, float] | None = Field(description="95 % interval of the true sd, by chi-square")
    pilot: str | None = Field(description="where the sd is from: the file of a document, or cells; null without one")
    pilot_seeds: int | None
    detectable: float | None = Field(description="effect times sd")
    detectable_ci95: tuple[float, float] | None = Field(description="effect times the limits of sd_ci95")
    first_level: float | None = Field(
        default=None,
        exclude_if=is_none,
        description="level of Holm's first step over the registered contrasts; omitted for a single contrast",
    )
    first_detectable: float | None = Field(
        default=None, exclude_if=is_none, description="what is detected at that level; omitted without an sd"
    )


class Stopping(Part):
    """How `--until` ended: seeds were added until the 95 % interval of the main contrast was narrow enough."""

    width: float = Field(description="full width asked for, as a share")
    reached: float | None = Field(description="full width at the end; null without an interval")
    first_seeds: int = Field(description="seeds at the start")
    most_seeds: int = Field(description="the cap")
    stopped_by: Literal["width", "most-seeds", "no-result"]


class ExperimentRun(Part):
    """Provenance of the document."""

    id: str
    created: str = Field(description="start of the last run, UTC, ISO 8601")
    command: str
    environment: Environment
    wall_seconds: float = Field(description="of the last run, which reused finished cells")


def _supported(version: object) -> object:
    if version != VERSION:
        raise ValueError(f"this version of stein-bench reads schema_version {VERSION}, not {version!r}")
    return version


class Reproduction(Document):
    """The results of `stein-bench reproduce`."""

    schema_version: Annotated[Literal[1], BeforeValidator(_supported)]
    kind: Literal["reproduction"]
    run: ExperimentRun
    experiment: dict[str, Any] = Field(description="as run, with the keys of its file")
    model: str
    parameters: int
    data: DataInfo
    training_data_sha256: Sha256
    seeds: list[int]
    cells: list[Cell]
    rows: list[Row]
    registered: list[Registered] | None = Field(
        default=None, exclude_if=is_none, description="in the order of the file; omitted without any"
    )
    registered_tests: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="over how many registered contrasts p is adjusted, if options have left some of them out",
    )
    main_contrast_left_out: Literal[True] | None = Field(
        default=None,
        exclude_if=is_none,
        description="options have taken the main contrast from the experiment; omitted otherwise",
    )
    power: Power | None = Field(default=None, exclude_if=is_none, description="omitted without a main contrast")
    until: Stopping | None = Field(default=None, exclude_if=is_none, description="omitted if the seeds were fixed")
    collapsed: list[str] = Field(description="variants whose clean accuracy has collapsed, one line each")
    notes: list[str] = Field(description="of the experiment, on how to read its tables")

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
        UsageError: the file is missing, not JSON, or not such a document.
    """
    return read_document(path, Reproduction, "document of `stein-bench reproduce`")
