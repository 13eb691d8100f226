"""A dry run as a table: what every phase costs, the total, and the times of several processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from stein_bench.attacks.passes import Passes
from stein_bench.errors import one_line
from stein_bench.evaluation.costs.results import DryRun, Span, grand_total
from stein_bench.render.columns import Column
from stein_bench.render.console import Notes, Paragraph, note_list, print_uncut
from stein_bench.render.text_table import TextTable
from stein_bench.report.number_format import UNKNOWN, about, about_between, memory_size


def print_dry_run(run: DryRun) -> None:
    """Print the table to stdout."""
    print_uncut(dry_run_table(run))


def dry_run_table(run: DryRun) -> RenderableType:
    """Return a heading, a row per phase, the total, a line per number of processes, and the notes."""
    heading = Text(one_line(run.model), style="bold")
    heading.append(
        f" on {one_line(run.data)} ({run.samples} samples in {run.batches} "
        f"{'batch' if run.batches == 1 else 'batches'} of "
        f"{run.batch_size}, {run.device}): a dry run of {about(run.seconds)}",
        style="not bold",
    )
    tables: list[RenderableType] = [part for table in (_rows(run), *_processes(run)) for part in (table, Text())]
    return Group(Paragraph(heading), Text(), *tables, note_list(_notes(run)))


def sweep_table(runs: Mapping[str, DryRun | str]) -> RenderableType:
    """Return a row per model of a sweep, with its total or why it cannot be evaluated, and the grand total."""
    table = TextTable([Column("model", name=True), *_right("time", "between", "peak memory")])
    for title, run in runs.items():
        if isinstance(run, str):
            table.add(one_line(title), Text("fails", style="bold red"), "", "")
        else:
            table.add(one_line(title), *_span(run.total()), _memory(run.peak_bytes))
    sound = [run for run in runs.values() if isinstance(run, DryRun)]
    table.rule()
    title = f"all {len(sound)}" if len(sound) == len(runs) else f"the {len(sound)} that work"
    table.add(title, *_span(grand_total(sound)), "", style="bold")
    notes = dict.fromkeys(note for run in sound for note in run.notes)
    failures = [
        ("!", f"{one_line(title)}: {one_line(run)}", "bold red") for title, run in runs.items() if isinstance(run, str)
    ]
    first: list[RenderableType] = [Notes(failures), Text()] if failures else []
    return Group(*first, table, Text(), note_list(notes))


def _rows(run: DryRun) -> TextTable:
    names = [Column("variant", name=True, lead=True), Column("phase", name=True)]
    table = TextTable([*names, *_right("least", "most", "expected", "time", "between", "peak\nmemory")])
    before = None
    for phase in run.phases:
        limits = phase.bounds
        table.add(
            phase.variant if phase.variant != before else "", phase.title,
            _passes(limits and limits.least), _passes(limits and limits.most), _passes(phase.expected),
            *_span(phase.span(run.variation), at_least=phase.at_least), _memory(phase.peak_bytes),
        )  # fmt: skip
        before = phase.variant
    table.rule()
    table.add("", "total", "", "", "", *_span(run.total()), _memory(run.peak_bytes), style="bold")
    return table


def _processes(run: DryRun) -> list[TextTable]:
    numbers = run.processes()
    if len(numbers) == 1:
        return []
    table = TextTable([Column("processes", name=True, right=True), *_right("time", "between")])
    for number in numbers:
        table.add(str(number), *_span(run.total(number)))
    return [table]


def _right(*headers: str) -> list[Column]:
    return [Column(header, right=True) for header in headers]


def _notes(run: DryRun) -> Iterator[str]:
    yield "passes: forward+backward per sample, as the report counts them"
    yield "times in between: with a probability of about 90 %, from the samples tried and the spread of times"
    if any(phase.peak_bytes is not None for phase in run.phases):
        yield f"peak memory: {run.memory}, in the dry run's batches"
    if len(run.processes()) > 1:
        yield "several processes: each with a device of its own like this one; what cannot be shared is done once"
    if any(phase.at_least for phase in run.phases):
        yield ">: the attack was cut short and its number of passes is not known: at least this"
    yield from run.notes


def _passes(passes: Passes | None) -> str:
    if passes is None:
        return UNKNOWN
    numbers = (f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}".removesuffix(".0") for value in passes)
    forward, backward = numbers
    return f"{forward}+{backward}"


def _span(span: Span, *, at_least: bool = False) -> tuple[str, str]:
    return f"{'> ' if at_least else ''}{about(span.seconds)}", about_between(span.low, span.high)


def _memory(count: int | None) -> str:
    return "" if count is None else memory_size(count)
