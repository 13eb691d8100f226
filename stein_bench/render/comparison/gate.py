"""The gate's verdict as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stein_bench.comparison.gate_result import Comparison, GateResult
from stein_bench.render.comparison.gate_wording import caveats, detectable, headline, newly_broken, p_of_change
from stein_bench.render.console import marked_notes, print_uncut
from stein_bench.report.number_format import percent, signed_interval
from stein_bench.report.results import on_lines

MOST_ROWS = 12
"""With more rows than this, unchanged ones are counted, not shown."""

IN_ROWS = ("regression", "unproven", "improved")
"""Kinds of findings that the rows of the table already show."""

_STYLES = {"error": "bold red", "warning": "yellow", "notice": "dim"}
_MARKS = {"error": "✗", "warning": "!", "notice": "-"}
_VERDICTS = {"passed": "bold green", "failed": "bold red", "refused": "bold red"}
_STATUS = {"regression": "bold red", "unproven": "yellow", "improved": "green", "unchanged": "dim"}


def gate_table(result: GateResult) -> RenderableType:
    """Return the verdict, what changed (worst first), and notes."""
    result = on_lines(result)
    rows = shown(result)
    sources = {c.variant.rpartition("/")[2] for c in rows}
    verdict = Text(f"Gate {headline(result)}", style=_VERDICTS[result.verdict])
    parts: list[RenderableType] = [verdict]
    if rows:
        if len(sources) == 1:
            verdict.append(f" ({sources.pop()} statistics)", style="not bold")
        parts.append(Padding(_rows(rows), (1, 0)))
    return Group(*parts, marked_notes(_notes(result, len(result.comparisons) - len(rows))))


def print_gate(result: GateResult, console: Console | None = None) -> None:
    """Print the table to stdout, or to `console`; see `print_uncut`."""
    print_uncut(gate_table(result), console)


def shown(result: GateResult) -> list[Comparison]:
    """Return the comparisons that the table shows: all if they are few, else those that changed."""
    if len(result.comparisons) <= MOST_ROWS:
        return list(result.comparisons)
    return [comparison for comparison in result.comparisons if comparison.status != "unchanged"]


def _rows(comparisons: list[Comparison]) -> Table:
    several_sources = len({c.variant.rpartition("/")[2] for c in comparisons}) > 1
    gap = 0 if several_sources else 1  # in addition to the separator's one column
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("BN", min_width=6, overflow="fold")
    if several_sources:
        table.add_column("stats", no_wrap=True)
    table.add_column("accuracy", min_width=8, overflow="fold")
    table.add_column("now %", justify="right", no_wrap=True)
    table.add_column("change (95 %)", no_wrap=True)
    table.add_column("−/+", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for c in comparisons:
        bn, _, stats = c.variant.rpartition("/")
        table.add_row(
            *([bn, stats] if several_sources else [bn]),
            c.title,
            percent(c.now),
            signed_interval(c.difference, c.interval),
            f"{c.lost}/{c.gained}",
            p_of_change(c),
            Text(c.status, style=_STATUS[c.status]),
        )
    return table


def _notes(result: GateResult, hidden: int) -> Iterator[tuple[str, str, str]]:
    for finding in result.findings:
        if finding.kind not in IN_ROWS:
            yield _MARKS[finding.level], finding.message, _STYLES[finding.level]
    for c in result.comparisons:
        if c.status in ("regression", "unproven") and c.newly_broken:
            yield "-", newly_broken(c, f"{c.variant}, {c.title}"), ""
    if hidden:
        yield "-", f"{hidden} more accuracies are unchanged", "dim"
    yield from (("-", caveat, "dim") for caveat in caveats(result))
    if result.comparisons:
        graded = any(c.graded for c in result.comparisons)
        counted = "images whose mIoU fell and rose" if graded else "samples newly wrong and newly right"
        yield "-", f"−/+: {counted}; p: one-sided, for that change, adjusted (Holm)", "dim"
        yield "-", detectable(result), ""
