"""The effects of estimator and statistics source as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType

from stein_bench.render.columns import Column
from stein_bench.render.console import Paragraph
from stein_bench.render.text_table import TextTable
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.results import Effect, VariantResult

COLUMNS = (
    ("estimator-running", "estimator,\nrunning"),
    ("estimator-batch", "estimator,\nbatch"),
    ("source-sample", "source,\nsample"),
    ("source-variant", "source,\n{bn}"),
    ("interaction", "interaction"),
)
READING = (
    "estimator: this BN minus plain BN. source: batch minus running statistics. interaction: the estimator's effect "
    "under batch minus that under running statistics. In points of {what}, with two-sided paired p (–: no test, "
    "fewer than ten batches). One trained network per BN cannot separate the estimator from the training seed: "
    "networks trained from several seeds are the replicates."
)


def effect_tables(report: Report) -> list[RenderableType]:
    """Return a table per BN with known effects, and how to read them."""
    known = [variant for variant in report.variants if variant.effects]
    tables: list[RenderableType] = [_table(variant) for variant in known]
    what = "mIoU" if report.data.task == "segmentation" else "accuracy"
    return [*tables, Paragraph(READING.format(what=what))] if tables else []


def _table(variant: VariantResult) -> RenderableType:
    headers = [Column(header.format(bn=variant.bn), right=True) for _, header in COLUMNS]
    table = TextTable([Column("outcome", name=True), *headers])
    names = titles(variant.attacks)
    by_outcome: dict[str, dict[str, Effect]] = {}
    for effect in variant.effects:
        by_outcome.setdefault(effect.outcome, {})[effect.name] = effect
    for outcome, effects in by_outcome.items():
        table.add(names.get(outcome, outcome), *(_cell(effects.get(name)) for name, _ in COLUMNS))
    return Group(Paragraph(f"Effects of {variant.bn}", style="bold"), table)


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return "–"
    p = "–" if effect.p is None else f"{effect.p:.2g}" if effect.p >= 1e-4 else "<1e-4"
    return f"{100 * effect.difference:+.1f}\np {p}"
