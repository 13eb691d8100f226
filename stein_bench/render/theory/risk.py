"""The simulated risks as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stein_bench.render.console import note_list, print_uncut
from stein_bench.theory.figures import figure
from stein_bench.theory.names import TARGETS, Target
from stein_bench.theory.risk import Cell
from stein_bench.theory.study import INTERVAL_MISS, RiskStudy, Tally

MOST_DETAILED = 12
"""With more settings than this, they are summarized."""

SHORT = {
    "none": "none",
    "gaussian": "Gauss",
    "uniform": "uniform",
    "rademacher": "Radem.",
    "truncated-gaussian": "trunc.",
    "clipped-cauchy": "Cauchy",
}
"""Contaminations as column headers."""


def print_risk(study: RiskStudy, console: Console | None = None) -> None:
    """Print the tables to stdout, or to `console`; see `print_uncut`."""
    parts = list(_details(study) if len(study.cells) <= MOST_DETAILED else _summaries(study))
    conclusion = Text(study.conclusion(), style="bold")
    tables = [part for part in parts if isinstance(part, Padding)]
    print_uncut(Group(*parts, conclusion, Text(), note_list(_notes(study))), console, unbroken=tables)


def _summaries(study: RiskStudy) -> Iterator[RenderableType]:
    yield Text(f"Risk relative to the sample estimators in {len(study.cells)} settings", style="bold")
    yield Padding(_tallies(study), (1, 0))
    spreads = [(f"{spread:g}", _cells_with(study, "spread", spread)) for spread in study.settings.spreads]
    kinds = [(SHORT[name], _cells_with(study, "contamination", name)) for name in study.settings.contaminations]
    blocks: tuple[tuple[Target, str, list[tuple[str, list[Cell]]]], ...] = (
        ("mean", "spread of the true means, in σ", spreads),
        ("mean", "contamination", kinds),
        ("variance", "contamination", kinds),
    )
    for target, by, columns in blocks:
        if len(columns) > 1:
            yield Text(f"{target}, by {by}: dominates/does not/undecided", style="bold")
            yield Padding(_counts(study, target, columns), (1, 0))


def _cells_with(study: RiskStudy, field: str, value: object) -> list[Cell]:
    return [cell for cell in study.cells if getattr(cell, field) == value]


def _tallies(study: RiskStudy) -> Table:
    table = _table("\nestimator", "\nof")
    for header in ("\ndominates", "does\nnot", "un-\ndecided", "\nsame", "ratio:\nleast", "\nmedian", "\nmost"):
        table.add_column(header, justify="right", no_wrap=True)
    for name in study.settings.estimators:
        lead = name
        for target in TARGETS:
            tally = study.tally(name, target)
            verdicts = [str(tally.verdicts[key]) for key in ("dominates", "does not", "undecided", "same")]
            table.add_row(lead, target, *verdicts, *(figure(x) for x in (tally.least, tally.median, tally.largest)))
            lead = ""
    return table


def _counts(study: RiskStudy, target: Target, columns: Sequence[tuple[str, list[Cell]]]) -> Table:
    table = _table("estimator")
    for header, _ in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for name in study.settings.estimators:
        tallies = [study.tally(name, target, cells) for _, cells in columns]
        table.add_row(name, *map(_count, tallies))
    return table


def _count(tally: Tally) -> str:
    verdicts = tally.verdicts
    if verdicts["same"] == verdicts.total():
        return "same"
    return f"{verdicts['dominates']}/{verdicts['does not']}/{verdicts['undecided']}"


def _details(study: RiskStudy) -> Iterator[RenderableType]:
    for cell in study.cells:
        yield Text(
            f"C = {cell.channels}, N = {cell.elements}, spread {cell.spread:g}, contamination {cell.contamination}, "
            f"{cell.draws:,} batches",
            style="bold",
        )
        table = _table("estimator", "of", "ratio of risks", "95 % interval", "verdict")
        for item in cell.comparisons:
            low, high = item.ratio.interval(INTERVAL_MISS)
            ratios = (figure(item.ratio.ratio), f"{figure(low)} to {figure(high)}")
            table.add_row(item.estimator if item.target == "mean" else "", item.target, *ratios, study.verdict(item))
        yield Padding(table, (1, 0))


def _table(*leads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for lead in leads:
        table.add_column(lead, no_wrap=True)
    return table


def _notes(study: RiskStudy) -> Iterator[str]:
    settings = study.settings
    yield "ratio: squared-error risk, summed over channels, relative to the sample mean or biased sample variance"
    if len(study.cells) <= MOST_DETAILED:
        yield "each interval holds for its ratio alone; 1-4e-5 means 1 minus 0.00004"
    else:
        yield (
            f"settings: C = {_grid(settings.channels)} by N = {_grid(settings.elements)} by spread by contamination; "
            "--output has every setting with its interval, --plot draws all"
        )
    yield (
        f"verdicts hold simultaneously: the probability that any of the {study.comparisons:,} is wrong is at most 5 % "
        "(Bonferroni), so some whose own interval excludes 1 are undecided"
    )
    agreeing, known = study.closed_forms()
    if known:
        yield f"{agreeing} of {known} risks that are known in closed form agree within 5 standard errors"
    if settings.offset or settings.variance_spread:
        yield f"true means around {settings.offset:g} σ; standard deviation of log σ²: {settings.variance_spread:g}"
    if settings.contaminations != ("none",):
        yield f"contamination of strength {settings.strength:g} σ is added to the elements; the target stays clean"


def _grid(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)
