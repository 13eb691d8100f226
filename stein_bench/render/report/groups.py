"""Results by corruption and severity, of a corrupted test set or of common corruptions made for the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Group, RenderableType
from rich.text import Text

from stein_bench.comparison.corruptions import CORRUPTIONS
from stein_bench.comparison.pairing import CLEAN, variant_name
from stein_bench.render.columns import Column
from stein_bench.render.console import Paragraph
from stein_bench.render.report.common import cells_without_result, common_notes, made_cells
from stein_bench.render.report.metrics import metric_rows
from stein_bench.render.report.outcomes import measure
from stein_bench.render.shades import Shade, shade
from stein_bench.render.text_table import TextTable
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN, percent
from stein_bench.report.results import GroupResult, VariantResult
from stein_bench.statistics.rates import independent_units

AXES = ("corruption", "severity")
"""What the two parts of a common corruption's cell are, e.g. of ``fog/3``."""
WITH_INTERVALS = 3
"""With more columns of cells than this, the table leaves out the intervals, to stay narrow."""


@dataclass(frozen=True)
class GroupGrid:
    """Accuracies of one variant in one outcome: a row for each corruption, a column for each severity, and means.

    `title` names variant and outcome; `detail` says how many samples a cell has and, if it does not have its interval,
    how wide that is at most. `shares` has the accuracy of every cell of `rows`, None where there is none.
    """

    title: str
    detail: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shares: tuple[tuple[float | None, ...], ...]

    @property
    def shaded(self) -> list[list[tuple[str, Shade | None]]]:
        """The cells with their colors, those without an accuracy without."""
        return [
            [(text, None if share is None else shade(share)) for text, share in zip(row, shares, strict=True)]
            for row, shares in zip(self.rows, self.shares, strict=True)
        ]


def group_grids(report: Report, *, intervals: bool, everything: bool) -> list[GroupGrid]:
    """Return a grid for every variant and outcome with more than one cell.

    Args:
        report: the report.
        intervals: whether cells have their intervals.
        everything: whether to include every outcome, not only the clean one and the worst case.
    """
    found, measured = [], measure(report)
    for variant in report.variants:
        name, errors = variant_name(variant), _errors(variant)
        if report.data.grouped_by is not None:
            found += [
                _grid(
                    f"{name}, {row.outcome}: {measured} %",
                    row.groups,
                    report.data.grouped_by,
                    errors if row.key == CLEAN else {},
                    intervals=intervals,
                )
                for row in metric_rows(variant)
                if len(row.groups) > 1 and (everything or row.summarizes)
            ]
        if len(cells := made_cells(variant)) > 1:
            failed = [_place(cell) for cell in cells_without_result(variant)]
            found.append(
                _grid(f"{name}, corrupted: {measured} %", cells, AXES, errors, intervals=intervals, failed=failed)
            )
    return found


def _errors(variant: VariantResult) -> Mapping[str, float]:
    """Return the corruption errors, relative to the baseline's, and their mean as that of ``mean``."""
    found = variant.common_corruptions
    if found is None or found.mce is None or found.mce.mce is None:
        return {}
    own = {name: one.corruption_error for name, one in found.corruptions.items()}
    return {name: error for name, error in own.items() if error is not None} | {"mean": found.mce.mce}


def _grid(
    name: str,
    groups: Mapping[str, GroupResult],
    axes: tuple[str, str],
    errors: Mapping[str, float],
    *,
    intervals: bool,
    failed: Sequence[tuple[str, str]] = (),
) -> GroupGrid:
    cells = {_place(group): found for group, found in groups.items()}
    columns = sorted({column for _, column in (*cells, *failed)})
    lines = list(dict.fromkeys(line for line, _ in (*cells, *failed)))
    rows = [[line, *(_cell(cells.get((line, column)), intervals) for column in columns)] for line in lines]
    shares = [[None, *(_share(cells.get((line, column))) for column in columns)] for line in lines]
    if len(lines) > 1:
        means = [_mean(cells, failed, column=column) for column in columns]
        rows.append(["mean", *map(_percent, means)])
        shares.append([None, *means])
    if len(columns) > 1:
        means = [*(_mean(cells, failed, line=line) for line in lines), _mean(cells, failed)]
        rows = [[*row, _percent(mean)] for row, mean in zip(rows, means, strict=False)]
        shares = [[*row, mean] for row, mean in zip(shares, means, strict=False)]
    if errors:
        rows = [[*row, percent(errors[row[0]]) if row[0] in errors else UNKNOWN] for row in rows]
        shares = [[*row, None] for row in shares]
    counts = sorted({found.samples for found in cells.values()})
    detail = f"n = {' or '.join(map(str, counts))} in each"
    if not intervals:
        widest = max(max(found.ci95[1] - found.accuracy, found.accuracy - found.ci95[0]) for found in cells.values())
        detail += f", 95 % intervals of at most ±{100 * widest:.1f}"
    headers = (axes[0], *columns, *(["mean"] if len(columns) > 1 else []), *(["CE %"] if errors else []))
    return GroupGrid(
        f"{name} by {axes[0]} and {axes[1]}", detail, headers, tuple(map(tuple, rows)), tuple(map(tuple, shares))
    )


def _share(found: GroupResult | None) -> float | None:
    return None if found is None else found.accuracy


def _place(group: str) -> tuple[str, str]:
    line, _, column = group.rpartition("/")
    return line, column


def _cell(found: GroupResult | None, interval: bool) -> str:
    if found is None:
        return UNKNOWN
    return f"{percent(found.accuracy)}{f' ({percent(found.ci95[0])}–{percent(found.ci95[1])})' if interval else ''}"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else percent(share)


def _mean(
    cells: Mapping[tuple[str, str], GroupResult],
    failed: Sequence[tuple[str, str]],
    line: str | None = None,
    column: str | None = None,
) -> float | None:
    """Return the mean of the accuracies of a line, a column, or all cells; None if one of them has failed."""

    def within(place: tuple[str, str]) -> bool:
        return line in (None, place[0]) and column in (None, place[1])

    if any(map(within, failed)):
        return None
    return fmean(found.accuracy for place, found in cells.items() if within(place))


def group_tables(report: Report) -> list[RenderableType]:
    """Return the grids of the clean outcome and of the worst case as tables."""
    cells = [cell for variant in report.variants for cell in (*(variant.clean.groups or ()), *made_cells(variant))]
    columns = {cell.rpartition("/")[2] for cell in cells}
    grids = group_grids(report, intervals=len(columns) <= WITH_INTERVALS, everything=False)
    return [Group(Paragraph(grid.title, style="bold"), Paragraph(grid.detail), _table(grid)) for grid in grids]


def _table(grid: GroupGrid) -> TextTable:
    table = TextTable(
        [Column(header, name=not i, right=i > 0, narrow="beneath") for i, header in enumerate(grid.headers)]
    )
    for row in grid.shaded:
        table.add(*(Text(text, style=f"{found.text} on {found.fill}" if found else "") for text, found in row))
    return table


def group_notes(report: Report) -> Iterator[str]:
    """Yield what means, intervals and tests are, if samples are versions of base images."""
    yield from common_notes(report)
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
        for group, found in made_cells(variant).items():
            yield variant_name(variant), variant.control, CORRUPTIONS, group, found
