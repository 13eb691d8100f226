"""The gate's verdict as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.text import Text

from stein_bench.comparison.gate_result import Comparison, GateResult
from stein_bench.render.columns import Column
from stein_bench.render.comparison.gate_wording import caveats, detectable, headline, newly_broken, p_of_change
from stein_bench.render.console import Notes, Paragraph, print_uncut
from stein_bench.render.text_table import TextTable
from stein_bench.report.number_format import percent, signed_interval
from stein_bench.report.results import on_lines

MOST_ROWS = 12
"""With more rows than this, unchanged ones are counted, not shown."""

IN_ROWS = ("regression", "unproven", "improved")
"""Kinds of findings that the rows of the table already show."""

_STYLES = {"error": "bold red", "warning": "bold", "notice": ""}
_MARKS = {"error": "✗", "warning": "!", "notice": "-"}
_VERDICTS = {"passed": "bold green", "failed": "bold red", "refused": "bold red"}
_STATUS = {"regression": "bold red", "unproven": "bold", "improved": "green", "unchanged": ""}


def gate_table(result: GateResult) -> RenderableType:
    """Return the verdict, what changed (worst first), and notes."""
    result = on_lines(result)
    rows = shown(result)
    sources = {c.variant.rpartition("/")[2] for c in rows}
    verdict = Text(f"Gate {headline(result)}", style=_VERDICTS[result.verdict])
    parts: list[RenderableType] = [Paragraph(verdict)]
    if rows:
        if len(sources) == 1:
            verdict.append(f" ({sources.pop()} statistics)", style="not bold")
        parts += [Text(), _rows(rows), Text()]
    return Group(*parts, Notes(_notes(result, len(result.comparisons) - len(rows))))


def print_gate(result: GateResult, console: Console | None = None) -> None:
    """Print the table to stdout, or to `console`; see `print_uncut`."""
    print_uncut(gate_table(result), console)


def shown(result: GateResult) -> list[Comparison]:
    """Return the comparisons that the table shows: all if they are few, else those that changed."""
    if len(result.comparisons) <= MOST_ROWS:
        return list(result.comparisons)
    return [comparison for comparison in result.comparisons if comparison.status != "unchanged"]


def _rows(comparisons: list[Comparison]) -> TextTable:
    several_sources = len({c.variant.rpartition("/")[2] for c in comparisons}) > 1
    table = TextTable(
        [
            Column("BN", name=True),
            *([Column("stats", name=True, narrow="under", importance=1)] if several_sources else []),
            Column("accuracy", name=True),
            Column("now %", right=True, importance=9),
            Column("change (95 %)", point=True, narrow="beneath", importance=2),
            Column("−/+", right=True),
            Column("p", right=True),
            Column("", importance=9),
        ]
    )
    for c in comparisons:
        bn, _, stats = c.variant.rpartition("/")
        table.add(
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
        yield "-", f"{hidden} more accuracies are unchanged", ""
    yield from (("-", caveat, "") for caveat in caveats(result))
    if result.comparisons:
        graded = any(c.graded for c in result.comparisons)
        counted = "images whose mIoU fell and rose" if graded else "samples newly wrong and newly right"
        yield "-", f"−/+: {counted}; p: one-sided, for that change, adjusted (Holm)", ""
        yield "-", detectable(result), ""
