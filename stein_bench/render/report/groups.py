"""Results on a corrupted test set by corruption and severity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stein_bench.comparison.pairing import variant_name
from stein_bench.render.report.metrics import MetricRow, metric_rows
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN, percent
from stein_bench.report.results import GroupResult
from stein_bench.statistics.rates import independent_units

WITH_INTERVALS = 3
"""With more columns of cells than this, the table leaves out the intervals, to fit 80 columns."""


@dataclass(frozen=True)
class GroupGrid:
    """Accuracies of one variant in one outcome: a row for each corruption, a column for each severity, and means.

    `title` names variant and outcome; `detail` says how many samples a cell has and, if it does not have its interval,
    how wide that is at most.
    """

    title: str
    detail: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def group_grids(report: Report, *, intervals: bool, everything: bool) -> list[GroupGrid]:
    """Return a grid for every variant and outcome with more than one cell.

    Args:
        report: the report.
        intervals: whether cells have their intervals.
        everything: whether to include every outcome, not only the clean one and the worst case.
    """
    if report.data.grouped_by is None:
        return []
    return [
        _grid(f"{variant_name(variant)}, {row.outcome}", row, report.data.grouped_by, intervals=intervals)
        for variant in report.variants
        for row in metric_rows(variant)
        if len(row.groups) > 1 and (everything or row.summarizes)
    ]


def _grid(name: str, row: MetricRow, axes: tuple[str, str], *, intervals: bool) -> GroupGrid:
    cells = {_place(group): found for group, found in row.groups.items()}
    columns = sorted({column for _, column in cells})
    lines = list(dict.fromkeys(line for line, _ in cells))
    rows = [[line, *(_cell(cells.get((line, column)), intervals) for column in columns)] for line in lines]
    if len(lines) > 1:
        rows.append(["mean", *(_mean(cells, column=column) for column in columns)])
    if len(columns) > 1:
        means = [*(_mean(cells, line=line) for line in lines), _mean(cells)]
        rows = [[*row, mean] for row, mean in zip(rows, means, strict=False)]
    counts = sorted({found.samples for found in cells.values()})
    detail = f"n = {' or '.join(map(str, counts))} in each"
    if not intervals:
        widest = max(max(found.ci95[1] - found.accuracy, found.accuracy - found.ci95[0]) for found in cells.values())
        detail += f", 95 % intervals of at most ±{100 * widest:.1f}"
    headers = (axes[0], *columns, *(["mean"] if len(columns) > 1 else []))
    return GroupGrid(f"{name}: accuracy % by {axes[0]} and {axes[1]}", detail, headers, tuple(map(tuple, rows)))


def _place(group: str) -> tuple[str, str]:
    line, _, column = group.rpartition("/")
    return line, column


def _cell(found: GroupResult | None, interval: bool) -> str:
    if found is None:
        return UNKNOWN
    return f"{percent(found.accuracy)}{f' ({percent(found.ci95[0])}–{percent(found.ci95[1])})' if interval else ''}"


def _mean(cells: Mapping[tuple[str, str], GroupResult], line: str | None = None, column: str | None = None) -> str:
    """Write the mean of the accuracies of a line, a column, or all cells."""
    return percent(
        fmean(
            found.accuracy for place, found in cells.items() if line in (None, place[0]) and column in (None, place[1])
        )
    )


def group_tables(report: Report) -> list[RenderableType]:
    """Return the grids of the clean outcome and of the worst case as tables."""
    columns = {group.rpartition("/")[2] for variant in report.variants for group in variant.clean.groups or ()}
    grids = group_grids(report, intervals=len(columns) <= WITH_INTERVALS, everything=False)
    return [Group(Text(grid.title, style="bold"), Text(grid.detail, style="dim"), _table(grid)) for grid in grids]


def _table(grid: GroupGrid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(grid.headers[0], overflow="fold")
    for header in grid.headers[1:]:
        table.add_column(header, justify="right", no_wrap=True)
    for row in grid.rows:
        table.add_row(*row)
    return table


def group_notes(report: Report) -> Iterator[str]:
    """Yield what means, intervals and tests are, if samples are versions of base images."""
    if any(len(variant.clean.groups or ()) > 1 for variant in report.variants):
        yield (
            "mean: of the accuracies in its row or column, or of all corruptions and severities; not mCE, which needs "
            "AlexNet's errors"
        )
    sizes = {(v.outcomes.samples, v.outcomes.cluster_size) for v in report.variants if v.outcomes.cluster_size}
    batch_dependent = any(variant.stats == "batch" for variant in report.variants)
    blocks = ", under batch statistics blocks of whole batches and base images" if batch_dependent else ""
    for samples, size in sizes:
        units = independent_units(samples, size or 1)
        yield (
            f"versions of one base image are not independent: intervals over all of them count {units} base "
            f"{'images' if units > 1 else 'image'}, and tests exchange whole base images{blocks} (none below 10)"
        )
    if sizes and batch_dependent:
        yield (
            "batch statistics: a batch mixes corruptions and severities of few base images; for batches of one kind "
            "choose one corruption and one severity"
        )


def group_values(report: Report) -> Iterator[tuple[str, bool, str, str, GroupResult]]:
    """Yield variant, whether it is a control, outcome, group and result, for every group."""
    for variant in report.variants:
        for row in metric_rows(variant):
            for group, found in row.groups.items():
                yield variant_name(variant), variant.control, row.key, group, found
