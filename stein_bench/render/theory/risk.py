"""The simulated risks as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from stein_bench.render.columns import Column
from stein_bench.render.console import Paragraph, note_list, print_uncut
from stein_bench.render.text_table import TextTable
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
    conclusion = Paragraph(study.conclusion(), style="bold")
    print_uncut(Group(conclusion, Text(), *parts, note_list(_notes(study))), console)


def _summaries(study: RiskStudy) -> Iterator[RenderableType]:
    yield Paragraph(f"Risk relative to the sample estimators in {len(study.cells)} settings", style="bold")
    yield from (_tallies(study), Text())
    spreads = [(f"{spread:g}", _cells_with(study, "spread", spread)) for spread in study.settings.spreads]
    kinds = [(SHORT[name], _cells_with(study, "contamination", name)) for name in study.settings.contaminations]
    blocks: tuple[tuple[Target, str, list[tuple[str, list[Cell]]]], ...] = (
        ("mean", "spread of the true means, in σ", spreads),
        ("mean", "contamination", kinds),
        ("variance", "contamination", kinds),
    )
    for target, by, columns in blocks:
        if len(columns) > 1:
            yield Paragraph(f"{target}, by {by}: dominates/does not/undecided", style="bold")
            yield from (_counts(study, target, columns), Text())


def _cells_with(study: RiskStudy, field: str, value: object) -> list[Cell]:
    return [cell for cell in study.cells if getattr(cell, field) == value]


def _tallies(study: RiskStudy) -> TextTable:
    headers = ("dominates", "does\nnot", "un-\ndecided", "same", "ratio:\nleast", "median", "most")
    table = _table(*headers, of=True)
    for name in study.settings.estimators:
        lead = name
        for target in TARGETS:
            tally = study.tally(name, target)
            verdicts = [str(tally.verdicts[key]) for key in ("dominates", "does not", "undecided", "same")]
            table.add(lead, target, *verdicts, *(figure(x) for x in (tally.least, tally.median, tally.largest)))
            lead = ""
    return table


def _counts(study: RiskStudy, target: Target, columns: Sequence[tuple[str, list[Cell]]]) -> TextTable:
    table = _table(*(header for header, _ in columns))
    for name in study.settings.estimators:
        tallies = [study.tally(name, target, cells) for _, cells in columns]
        table.add(name, *map(_count, tallies))
    return table


def _count(tally: Tally) -> str:
    verdicts = tally.verdicts
    if verdicts["same"] == verdicts.total():
        return "same"
    return f"{verdicts['dominates']}/{verdicts['does not']}/{verdicts['undecided']}"


def _details(study: RiskStudy) -> Iterator[RenderableType]:
    for cell in study.cells:
        yield Paragraph(
            f"C = {cell.channels}, N = {cell.elements}, spread {cell.spread:g}, contamination {cell.contamination}, "
            f"{cell.draws:,} batches",
            style="bold",
        )
        table = _table("ratio of risks", "95 % interval", "verdict", of=True, right=False)
        for item in cell.comparisons:
            low, high = item.ratio.interval(INTERVAL_MISS)
            ratios = (figure(item.ratio.ratio), f"{figure(low)} to {figure(high)}")
            table.add(item.estimator if item.target == "mean" else "", item.target, *ratios, study.verdict(item))
        yield from (table, Text())


def _table(*headers: str, of: bool = False, right: bool = True) -> TextTable:
    names = [Column("estimator", name=True, lead=of), *([Column("of", name=True)] if of else [])]
    return TextTable([*names, *(Column(header, right=right) for header in headers)])


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
