"""The document of an experiment as tables: for the terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.text import Text

from stein_bench.comparison.document import ALPHA
from stein_bench.render.columns import Column
from stein_bench.render.console import Notes, Paragraph, note_list, print_uncut
from stein_bench.render.markup import csv_text, latex_comment, latex_table, latex_text, markdown_table, markdown_text
from stein_bench.render.report.metrics import AUC_UNDER_ATTACK
from stein_bench.render.reproduction.registered import (
    HEADERS,
    HEADING,
    has_collapsed,
    planning_notes,
    registered_rows,
    registered_sentences,
)
from stein_bench.render.text_table import TextTable
from stein_bench.report.number_format import UNKNOWN, signed, signed_interval
from stein_bench.report.results import on_lines
from stein_bench.reproduction.document import Contrast, Reproduction, Row
from stein_bench.reproduction.summary import ACCURACY, HEADLINE

CONFOUNDED = "‡"
MOST_LISTED = 6


@dataclass(frozen=True)
class Sheet:
    """One table of strings: a heading, variant names in the first column, and one column per outcome."""

    heading: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(document: Reproduction, only: str | None = None) -> list[Sheet]:
    """Return every table of a document, or of `only` one part.

    Each part has its results, the effect of the estimator and the effect of the statistics source.
    """
    found = []
    for part in dict.fromkeys(row.part for row in document.rows if only in (None, row.part)):
        own = [row for row in document.rows if row.part == part]
        seeds = f"{len(document.seeds)} seed{'s' if len(document.seeds) > 1 else ''}"
        for metric in dict.fromkeys(row.metric for row in own):
            figures = [row for row in own if row.metric == metric]
            found.append(_sheet(f"{part}: {metric}, mean ± sd over {seeds}, in %", figures, _figure))
        headline = HEADLINE.get(document.data.task, ACCURACY)
        for kind, heading in (
            ("estimator", f"{part}: effect of the estimator on {headline} (minus plain BN, same statistics)"),
            ("source", f"{part}: effect of the statistics source on {headline} (batch minus running, same networks)"),
        ):
            drawn = [row for row in own if row.metric == headline and _contrast(row, kind) is not None]
            if drawn:
                found.append(_sheet(heading, drawn, _contrast_cell(kind)))
    return found


def registered_sheet(document: Reproduction) -> Sheet | None:
    """Return the table of the registered contrasts, None without any."""
    rows = registered_rows(document)
    return Sheet(HEADING, HEADERS, tuple(rows)) if rows else None


def _sheet(heading: str, rows: Sequence[Row], cell: Callable[[Row], str]) -> Sheet:
    columns = dict.fromkeys((row.outcome, row.title) for row in rows)
    by_variant: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_variant.setdefault(_variant(row), {})[row.outcome] = row
    body = [
        (name, *(cell(found[outcome]) if outcome in found else UNKNOWN for outcome, _ in columns))
        for name, found in by_variant.items()
    ]
    return Sheet(heading, ("BN/statistics", *(title for _, title in columns)), tuple(body))


def _variant(row: Row) -> str:
    return f"{row.bn}/{row.stats}{CONFOUNDED if row.confounded else ''}"


def _figure(row: Row) -> str:
    if row.mean is None:
        return UNKNOWN
    missing = sum(value is None for value in row.values)
    text = f"{100 * row.mean:.1f}" + ("" if row.sd is None else f" ± {100 * row.sd:.1f}")
    return f"{text} (n={len(row.values) - missing})" if missing else text


def _contrast(row: Row, kind: str) -> Contrast | None:
    return next((contrast for contrast in row.contrasts if contrast.kind == kind), None)


def _significant(contrast: Contrast) -> bool:
    return contrast.p_adjusted is not None and contrast.p_adjusted < ALPHA


def _contrast_cell(kind: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        found = _contrast(row, kind)
        if found is None:
            return UNKNOWN
        if found.ci95 is None:
            return f"{signed(found.mean)} (no test)"
        star = "*" if _significant(found) else ""
        return signed_interval(found.mean, found.ci95) + star

    return cell


def verdict(document: Reproduction) -> str:
    """Return the conclusion about the estimators that the contrasts of the headline metric support.

    If contrasts are registered, what the main one shows comes first, and the rest is exploratory.
    """
    if document.dishonest():
        return "No conclusion: some cells have no trustworthy result."
    explored = _explored(document)
    if not document.registered:
        return explored
    main = document.registered[0]
    lost = [name for name in (f"{main.bn}/{main.stats}", main.against) if has_collapsed(document, main.part, name)]
    told = f"Main contrast, {registered_sentences(document)[0]}"
    if document.main_contrast_left_out:
        told = "The main contrast was left out"
    elif lost:
        told = f"No conclusion about the main contrast: the clean accuracy of {' and '.join(lost)} has collapsed"
    return f"{told}. Exploratory: {explored[0].lower()}{explored[1:]}"


def _explored(document: Reproduction) -> str:
    confounded = list(dict.fromkeys(row.bn for row in document.rows if row.confounded))
    if confounded:
        return (
            f"No conclusion about {', '.join(confounded)}: both BN and statistics source differ from plain BN's, "
            "so a difference cannot be attributed to either."
        )
    headline = HEADLINE.get(document.data.task, ACCURACY)
    tested = [
        (row, c)
        for row in document.rows
        for c in row.contrasts
        if row.metric == headline and c.kind == "estimator" and c.p_adjusted is not None
    ]
    sound = [
        (row, c)
        for row, c in tested
        if not any(has_collapsed(document, row.part, name) for name in (f"{row.bn}/{row.stats}", c.against))
    ]
    if tested and not sound:
        return "No conclusion about any estimator: clean accuracies have collapsed."
    if not tested:
        return "No conclusion about any estimator: the comparison has no replicates."
    found = [f"{row.bn}/{row.stats} {signed(c.mean)} ({row.part}, {row.title})" for row, c in sound if _significant(c)]
    seeds = f"over {len(document.seeds)} seeds, after adjustment for {len(tested)} contrasts"
    if not found:
        return f"No estimator is shown to differ from plain BN under the same statistics, {seeds}."
    listed = ", ".join(found[:MOST_LISTED]) + (
        f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
    )
    return f"Shown to differ from plain BN under the same statistics, {seeds}, in points of {headline}: {listed}."


def alerts(document: Reproduction) -> list[str]:
    """Return what invalidates results; it comes first."""
    return [*document.dishonest(), *document.collapsed]


def notes(document: Reproduction) -> list[str]:
    """Return notes on reading the tables."""
    lines = list(document.notes)
    drawn = [contrast for row in document.rows for contrast in row.contrasts]
    if drawn and len(document.seeds) > 1:
        lines.append(
            f"contrasts: mean difference in percentage points with its 95 % paired t interval over "
            f"{len(document.seeds)} seeds, with the seed as the replicate; * p < {ALPHA:g} after Holm correction "
            "over all contrasts of the same kind"
        )
    elif drawn:
        lines.append("one seed: a difference may be due to the training seed; no interval and no test")
    lines += planning_notes(document)
    if any(row.confounded for row in document.rows):
        lines.append(
            f"{CONFOUNDED} confounded: BN and statistics source both differ from plain BN's; no contrast is computed"
        )
    if any(row.stats == "batch" for row in document.rows):
        lines.append("under batch statistics a prediction depends on its batch: see the replays in the cells' reports")
    if document.data.task == "binary":
        lines.append(f"AUC: {AUC_UNDER_ATTACK[0].lower()}{AUC_UNDER_ATTACK[1:]}")
    by_cell = ({check.partition(":")[0] for check in cell.failed_checks} for cell in document.cells)
    failed = Counter(name for names in by_cell for name in sorted(names))
    if failed:
        counted = ", ".join(f"{name} in {cells}" for name, cells in failed.items())
        lines.append(f"failed sanity checks, with the number of evaluations out of {len(document.cells)}: {counted}")
    return lines


def heading(document: Reproduction) -> str:
    """Return what was run, on one line."""
    experiment, data = document.experiment, document.data
    return (
        f"{experiment['name']}, {experiment['preset']} preset: {document.model} on {data.name} "
        f"({data.split}, {data.samples} samples), {len(document.cells)} evaluations"
    )


def reproduction_table(document: Reproduction) -> RenderableType:
    """Return the document as tables."""
    document = on_lines(document)
    first = [("!", line, "bold red") for line in alerts(document)]
    parts: list[RenderableType] = [Notes(first), Text()] if first else []
    parts += [Paragraph(verdict(document), style="bold"), Text(), Paragraph(heading(document))]
    registered = registered_sheet(document)
    if registered is not None:
        sentences = note_list(registered_sentences(document))
        parts += [Paragraph(f"\n{registered.heading}", style="bold"), _drawn(registered), sentences]
    for sheet in sheets(document):
        parts += [Paragraph(f"\n{sheet.heading}", style="bold"), _drawn(sheet)]
    return Group(*parts, Text(), note_list(notes(document)))


def _drawn(sheet: Sheet) -> TextTable:
    figures = (Column(header, right=True, narrow="beneath") for header in sheet.headers[1:])
    table = TextTable([Column(sheet.headers[0], name=True), *figures])
    for row in sheet.rows:
        table.add(*row)
    return table


def print_reproduction(document: Reproduction, console: Console | None = None) -> None:
    """Print the tables to stdout, or to `console`; see `print_uncut`."""
    print_uncut(reproduction_table(document), console)


def _all_sheets(document: Reproduction) -> list[Sheet]:
    registered = registered_sheet(document)
    return [*([] if registered is None else [registered]), *sheets(document)]


def reproduction_markdown(document: Reproduction) -> str:
    """Return the document as Markdown."""
    lines = [f"**{markdown_text(heading(document))}**", ""]
    lines += [text for line in alerts(document) for text in (f"**{markdown_text(line)}**", "")]
    lines += [markdown_text(verdict(document)), ""]
    for sheet in _all_sheets(document):
        right = range(1, len(sheet.headers))
        lines += [f"{markdown_text(sheet.heading)}:", "", *markdown_table(sheet.headers, sheet.rows, right), ""]
        if sheet.heading == HEADING:
            lines += [*(f"- {markdown_text(line)}" for line in registered_sentences(document)), ""]
    return "\n".join([*lines, *(f"- {markdown_text(line)}" for line in notes(document))]) + "\n"


def reproduction_latex(document: Reproduction) -> str:
    """Return the document as LaTeX tabulars, which need the package booktabs."""
    lines = [latex_comment(heading(document)), latex_comment(verdict(document)), r"% needs \usepackage{booktabs}"]
    lines += [rf"\par {latex_text(line)}\par" for line in alerts(document)]
    for sheet in _all_sheets(document):
        right = range(1, len(sheet.headers))
        lines += [rf"\par {latex_text(sheet.heading)}\par", *latex_table(sheet.headers, sheet.rows, right)]
        if sheet.heading == HEADING:
            lines += [rf"\par {latex_text(line)}\par" for line in registered_sentences(document)]
    closing = [rf"{latex_text(line)}\par" for line in notes(document)]
    return "\n".join([*lines, r"\par{\footnotesize", *closing, "}"]) + "\n"


CSV_COLUMNS = (
    "part", "bn", "stats", "outcome", "metric", "seed", "value", "mean", "sd", "confounded",
)  # fmt: skip


def reproduction_csv(document: Reproduction) -> str:
    """Return every value of every seed as CSV in full precision; missing values are empty."""
    return csv_text(CSV_COLUMNS, [list(values) for row in document.rows for values in _csv_rows(row)])


def _csv_rows(row: Row) -> Iterator[tuple[object, ...]]:
    for seed, value in zip(row.seeds, row.values, strict=True):
        yield (
            row.part, row.bn, row.stats, row.outcome, row.metric, seed, value, row.mean, row.sd, row.confounded,
        )  # fmt: skip
