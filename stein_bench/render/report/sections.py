"""The tables of a page: the key numbers, every accuracy with a column for each variant, metrics and effects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stein_bench.comparison.corruptions import CORRUPTIONS
from stein_bench.comparison.pairing import CLEAN, WORST_CASE, variant_name
from stein_bench.render.report.effects import COLUMNS
from stein_bench.render.report.metrics import TITLES, metric_rows
from stein_bench.render.report.outcomes import ResultRow, measure, row_texts
from stein_bench.render.report.table import shared_budgets
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN, p_value, percent, signed
from stein_bench.report.results import Effect, Figure, VariantResult, headline, shown
from stein_bench.specs import format_eps

BESIDE = "Corruptions, which are not attacks"
LONG = 16
"""Rows of a table from which on it is folded, with a line that says what is in it."""

Pieces = tuple[str, ...]
"""A text in pieces between which it may be wrapped."""


@dataclass(frozen=True)
class Sheet:
    """A table for the macro `table`, a note below it, and the line that stands for it while it is folded.

    From column `numbers` on, counted from 0, there are numbers.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: int = 1
    note: str = ""
    folded: str = ""


def key_outcome(report: Report) -> str:
    """Return what a report is about beside the clean accuracy: the worst case, its only attack, or nothing (clean)."""
    labels = {attack.label for variant in report.variants for attack in variant.attacks}
    return WORST_CASE if len(labels) > 1 else next(iter(labels), CLEAN)


def key_numbers(report: Report, rows: Sequence[ResultRow]) -> Sheet:
    """Return the clean and the key outcome of every variant, and the difference of the latter from plain BN."""
    key = key_outcome(report)
    keys = list(dict.fromkeys((CLEAN, key)))
    by_place = {(row.variant, row.accuracy, row.expected): row for row in rows}
    compared = any(row.contrast for row in rows if row.accuracy == key)
    random = any(row.expected for row in rows)
    title = next((row.title for row in rows if row.accuracy == key and not row.expected), "worst case")
    headers = ["BN, statistics", f"clean {measure(report)}, %", *([f"{title}, %"] if key != CLEAN else [])]
    headers += ["difference, points", "p"] if compared else []
    table = []
    for variant in report.variants:
        name = variant_name(variant)
        found = [by_place.get((name, one, random)) or by_place.get((name, one, False)) for one in keys]
        cells = [row_texts(row) if row else (name, "", UNKNOWN, "", "") for row in found]
        last = by_place.get((name, key, False))
        table.append([
            f"{name} (control)" if variant.control else name, *(cell[2] for cell in cells),
            *((row_texts(last)[3:] if last else ("", "")) if compared else ()),
        ])  # fmt: skip
    told = [f"In percent, with 95 % intervals{', expected accuracies' if random else ''}"]
    if compared:
        told.append(
            f"the difference{' (of majority verdicts)' if random else ''} is that of the {title} from plain BN under "
            "the same statistics, paired, with p adjusted (Holm)"
        )
    return Sheet(headers, table, note="; ".join(told) + ".")


def every_outcome(report: Report, rows: Sequence[ResultRow]) -> dict[str, Any] | None:
    """Return a row for each outcome and a column for each variant; None if the key numbers are all there is.

    A cell has the figure, and below it the difference from plain BN.
    """
    names = list(dict.fromkeys(row.variant for row in rows))
    cells: dict[tuple[str, str], dict[str, tuple[Pieces, Pieces]]] = {}
    for variant, key, title, *cell in _outcomes(report, rows):
        cells.setdefault((key, title), {})[variant] = (cell[0], cell[1])
    if {key for key, _ in cells} <= {CLEAN, key_outcome(report)}:
        return None
    controls = {variant_name(variant) for variant in report.variants if variant.control}
    apart = {one.label for variant in report.variants for one in variant.corruptions}
    groups: dict[str, list[dict[str, Any]]] = {"": []}
    for (key, title), own in cells.items():
        corrupted = key in apart or key.split("/")[0] == CORRUPTIONS
        line = {
            "title": brief(title) if corrupted else title,
            "main": key in (CLEAN, WORST_CASE),
            "cells": [own.get(name, ((UNKNOWN,), ("",))) for name in names],
        }
        groups.setdefault(BESIDE if corrupted else "", []).append(line)
    compared = any(below[0] for lines in groups.values() for line in lines for _, below in line["cells"])
    shown_as = [f"{name} (control)" if name in controls else name for name in names]
    return {"variants": shown_as, "groups": list(groups.items()), "compared": compared}


def brief(title: str) -> str:
    """Return the title of a corruption without the remark that it is not an attack."""
    return re.sub(r" \((noise, |corruption, )?not (an attack|attacks)\)$", "", title)


def _outcomes(report: Report, rows: Sequence[ResultRow]) -> Iterator[tuple[str, str, str, Pieces, Pieces]]:
    """Yield variant, key, title, figure and difference; the worst case within each budget before that over all."""
    budgets = {variant_name(variant): variant for variant in report.variants}
    for row in rows:
        if row.accuracy == WORST_CASE and row.variant in budgets:
            for budget in shared_budgets(budgets.pop(row.variant)):
                title = f"worst case, {budget.norm} ε ≤ {format_eps(budget.eps)}"
                found = shown(headline(budget.accuracy, budget.ci95, budget.metrics), budget.expected_accuracy)
                yield row.variant, title, title, _pieces(_percent(found)), ("",)
        _, title, value, difference, p = row_texts(row)
        tested = p not in ("", UNKNOWN)
        yield (
            row.variant,
            row.accuracy,
            title,
            _pieces(value),
            (f"{difference},", f"p {p}") if tested else (difference,),
        )


def _pieces(value: str) -> Pieces:
    """Split a figure from its interval."""
    figure, _, interval = value.partition(" (")
    return (figure, f"({interval}") if interval else (figure,)


def metric_sheet(report: Report) -> Sheet | None:
    """Return the task's metrics by outcome; for a site its accuracy as well."""
    found = [(variant_name(variant), row) for variant in report.variants for row in metric_rows(variant)]
    names = list(dict.fromkeys(name for _, row in found for name in row.metrics))
    rows = [[name, row.outcome, "all", *(_percent(row.metrics.get(metric)) for metric in names)] for name, row in found]
    for name, row in found:
        for site, of in row.sites.items():
            metrics = (_percent((of.metrics or {}).get(metric)) for metric in names)
            rows.append([name, row.outcome, f"{site} (n = {of.samples}): {percent(of.accuracy)} % correct", *metrics])
    sites, titled = any(row.sites for _, row in found), {**TITLES, "miou": "mIoU"}
    headers = ["BN, statistics", "outcome", "site", *(f"{titled.get(name, name)} %" for name in names)]
    if not sites:
        headers, rows = [headers[0], headers[1], *headers[3:]], [[*row[:2], *row[3:]] for row in rows]
    if not (names or sites):
        return None
    what = ", ".join(titled.get(name, name) for name in names) or "accuracy"
    return folded(Sheet(headers, rows, 3 if sites else 2), f"{what} by variant, outcome{' and site' if sites else ''}")


def folded(sheet: Sheet, what: str) -> Sheet:
    """Return a table that is folded if it is long; `what` says what is in it."""
    line = f"{what} ({len(sheet.rows)} rows)" if len(sheet.rows) > LONG else ""
    return replace(sheet, folded=line)


def with_note(headers: list[str], rows: list[list[str]], note: str, what: str) -> Sheet | None:
    """Return a table with a note below it, folded if it is long; None without rows."""
    return folded(Sheet(headers, rows, 2, f"{note[:1].upper()}{note[1:]}."), what) if rows else None


def _percent(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return UNKNOWN
    between = f" ({percent(figure.ci95[0])}–{percent(figure.ci95[1])})" if figure.ci95 else ""
    return percent(figure.value) + between


def effects(variant: VariantResult) -> dict[str, Any]:
    """Return the effects of estimator and statistics source by outcome."""
    names = titles(variant.attacks)
    cells: dict[tuple[str, str], Effect] = {(effect.outcome, effect.name): effect for effect in variant.effects}
    rows = []
    for outcome in dict.fromkeys(effect.outcome for effect in variant.effects):
        row = [names.get(outcome, outcome)]
        for name, _ in COLUMNS:
            effect = cells.get((outcome, name))
            row.append(UNKNOWN if effect is None else f"{signed(effect.difference)} (p {p_value(effect.p)})")
        rows.append(row)
    headers = ["outcome", *(" ".join(header.format(bn=variant.bn).split()) for _, header in COLUMNS)]
    return {"bn": variant.bn, "headers": headers, "rows": rows}
