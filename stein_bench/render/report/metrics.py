"""Further tables of a report: the task's metrics, and results by site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rich.console import RenderableType

from stein_bench.comparison.pairing import CLEAN, WORST_CASE
from stein_bench.render.columns import Column
from stein_bench.render.text_table import TextTable
from stein_bench.report.attack_names import SEVERITY, noise_strength
from stein_bench.report.document import DataScaling, Report
from stein_bench.report.results import (
    AttackResult,
    Clean,
    CorruptionResult,
    Figure,
    GroupResult,
    SiteResult,
    VariantResult,
)
from stein_bench.specs import format_eps

TITLES = {
    "auc": "AUC", "pixel_accuracy": "pixels", "f1": "F1", "jaccard": "Jaccard",
    "published_js": "publ. js", "published_precision": "publ. prec.",
    "published_sensitivity": "publ. sens.", "published_f1": "publ. F1",
}  # fmt: skip
MOST_WITH_INTERVALS = 4
"""With more metrics than this, intervals are omitted to keep the table short; the report has them."""
MAIN = ("miou",)
"""Metrics that the main table shows."""
SHORT = {**TITLES, "sensitivity": "sens.", "specificity": "spec."}
"""Display names of metrics in the wider table by site; others keep their name."""

AUC_UNDER_ATTACK = (
    "Under attack every sample counts with the worse of its clean and adversarial score; attacks stop once a sample is "
    "misclassified, so this AUC is an upper bound"
)
"""The meaning of the AUC of a result under attack."""


@dataclass(frozen=True)
class MetricRow:
    """Metrics, sites and groups of one variant in one outcome: clean, an attack, a corruption, or the worst case.

    `key` is the outcome's label in the report, `outcome` its display name. `summarizes`: whether the outcome (clean or
    worst case) is shown if a table of all outcomes would be too long.
    """

    key: str
    outcome: str
    metrics: Mapping[str, Figure]
    sites: Mapping[str, SiteResult]
    groups: Mapping[str, GroupResult]
    summarizes: bool


def metric_rows(variant: VariantResult) -> Iterator[MetricRow]:
    """Yield a row for every outcome of the variant, in the order of the report; all parts may be empty."""
    yield _row(CLEAN, "clean", variant.clean, True)
    for attack in variant.attacks:
        name = f"{attack.name.removeprefix('torchattacks.')} {attack.norm} {format_eps(attack.eps)}"
        yield _row(attack.label, name, attack, len(variant.attacks) == 1)
    for corruption in variant.corruptions:
        kind, strength = noise_strength(corruption.params)
        place = f"/{strength}†" if kind == SEVERITY else f"† {strength}"
        name = f"{corruption.name.removeprefix('noise-')}{place}"
        yield _row(corruption.label, name, corruption, False)
    if len(variant.attacks) > 1:
        yield MetricRow(
            WORST_CASE, "worst case", variant.worst_case_metrics or {}, variant.worst_case_sites or {},
            variant.worst_case_groups or {}, True,
        )  # fmt: skip


def _row(key: str, outcome: str, result: Clean | AttackResult | CorruptionResult, summarizes: bool) -> MetricRow:
    return MetricRow(key, outcome, result.metrics or {}, result.sites or {}, result.groups or {}, summarizes)


def scaling_note(scaling: DataScaling) -> str:
    """Return a sentence on how the stored values were scaled to [0, 1] and what was clipped."""
    if scaling.method == "minmax" or scaling.low is None or scaling.high is None:
        return "every sample was scaled to [0, 1] by its own minimum and maximum"
    clipped = f"{scaling.clipped_values:,} values of {scaling.clipped_samples} samples were outside and clipped"
    return f"values were scaled from [{scaling.low:g}, {scaling.high:g}] to [0, 1]; {clipped}"


def metric_tables(report: Report) -> list[RenderableType]:
    """Return tables of the metrics and one by site, if there are any."""
    rows = [(short_name(report, variant), row) for variant in report.variants for row in metric_rows(variant)]
    names = list(dict.fromkeys(name for _, row in rows for name in row.metrics if name not in MAIN))
    tables: list[RenderableType] = []
    brief = len(names) > MOST_WITH_INTERVALS
    if measured := [(variant, row) for variant, row in rows if row.metrics.keys() & set(names)]:
        table = _table([f"{TITLES.get(name, name)} %" for name in names])
        for variant, row in _leading(measured):
            table.add(variant, row.outcome, *(_cell(row.metrics.get(name), brief=brief) for name in names))
        tables.append(table)
    by_site = [(variant, row) for variant, row in rows if row.sites and row.summarizes]
    if by_site:
        table = _table(["accuracy %", *(f"{SHORT.get(name, name)} %" for name in names)], sites=True)
        for variant, row in _leading(by_site):
            lead = (variant, row.outcome)
            for site, found in row.sites.items():
                figures = [Figure(value=found.accuracy, ci95=found.ci95)]
                figures += [(found.metrics or {}).get(name, Figure(value=None, ci95=None)) for name in names]
                table.add(*lead, f"{site} ({found.samples})", *map(_cell, figures))
                lead = ("", "")
        tables.append(table)
    return tables


def _leading(rows: list[tuple[str, MetricRow]]) -> Iterator[tuple[str, MetricRow]]:
    """Yield the rows with the variant's name on its first one only."""
    last = None
    for variant, row in rows:
        yield "" if variant == last else variant, row
        last = variant


def short_name(report: Report, variant: VariantResult) -> str:
    """Return the name of a variant's BN; below it the statistics source, if variants differ in that."""
    name = f"{variant.bn}*" if variant.control else variant.bn
    return f"{name}\n{variant.stats}" if len({other.stats for other in report.variants}) > 1 else name


def _table(headers: list[str], *, sites: bool = False) -> TextTable:
    return TextTable(
        [
            Column("BN", name=True, lead=True),
            Column("outcome", name=True, lead=sites),
            *([Column("site (n)", name=True)] if sites else []),
            *(Column(header, point=True, narrow="beneath") for header in headers),
        ]
    )


def _cell(figure: Figure | None, *, brief: bool = False) -> str:
    """Write the value with its interval; without the interval if `brief`."""
    if figure is None or figure.value is None:
        return "–"
    interval = "" if figure.ci95 is None or brief else f" ({100 * figure.ci95[0]:.1f}–{100 * figure.ci95[1]:.1f})"
    return f"{100 * figure.value:.1f}{interval}"
