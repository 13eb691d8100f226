"""The table of metrics that the user brings."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from stein_bench.comparison.pairing import CLEAN, variant_name
from stein_bench.render.columns import Column
from stein_bench.render.text_table import TextTable
from stein_bench.report.attack_names import corruption_strength, titles
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN
from stein_bench.report.results import Figure, VariantResult
from stein_bench.specs import format_eps

OWN_METRICS = (
    "own metrics are means over the samples with 95 % intervals; under an attack they are of its adversarial inputs, "
    "and of the clean one where that is invalid or over the budget"
)
"""What the figures of such metrics mean."""


def own_metric_cells(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the headers and the rows of the table, without rows if there are no such metrics."""
    found = [(variant_name(variant), *row) for variant in report.variants for row in _rows(variant) if row[1]]
    names = list(dict.fromkeys(name for _, _, figures in found for name in figures))
    rows = [[variant, outcome, *(_cell(figures.get(name)) for name in names)] for variant, outcome, figures in found]
    return ["BN, statistics", "outcome", *names], rows


def own_metric_values(report: Report) -> Iterator[tuple[VariantResult, str, str, Figure]]:
    """Yield variant, outcome (``clean`` or a label), metric and figure of every such metric."""
    for variant in report.variants:
        results = [(CLEAN, variant.clean.own_metrics), *((a.label, a.own_metrics) for a in variant.attacks)]
        results += [(c.label, c.own_metrics) for c in variant.corruptions]
        for key, figures in results:
            yield from ((variant, key, metric, figure) for metric, figure in (figures or {}).items())


def own_metric_tables(report: Report) -> list[RenderableType]:
    """Return the table of the metrics that the user brings, if there are any."""
    headers, rows = own_metric_cells(report)
    if not rows:
        return []
    table = TextTable([Column(h, name=i < 2, narrow=None if i < 2 else "beneath") for i, h in enumerate(headers)])
    for row in rows:
        table.add(*row)
    return [table]


def own_metric_notes(report: Report) -> list[str]:
    """Return what the figures mean, if there are any."""
    return [OWN_METRICS] if own_metric_cells(report)[1] else []


def _rows(variant: VariantResult) -> Iterator[tuple[str, dict[str, Figure]]]:
    yield CLEAN, variant.clean.own_metrics or {}
    names = titles(variant.attacks)
    yield from ((names[attack.label], attack.own_metrics or {}) for attack in variant.attacks)
    for one in variant.corruptions:
        strength = corruption_strength(one.params)[1]
        yield f"{one.name.removeprefix('noise-')}† {format_eps(strength)}", one.own_metrics or {}


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return UNKNOWN
    between = "" if figure.ci95 is None else f" ({figure.ci95[0]:.4g} to {figure.ci95[1]:.4g})"
    return f"{figure.value:.4g}{between}"
