"""A model's BN layers as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from stein_bench.errors import one_line
from stein_bench.evaluation.inspection import Inspection
from stein_bench.normalization.inspection import LayerInspection, Range, Shrinkage
from stein_bench.render.columns import Column
from stein_bench.render.console import Paragraph, Terminal, note_list, print_uncut
from stein_bench.render.text_table import TextTable

PREFERRED = ("stein", "jsnorm", "james-stein", "ridge:0.001", "lasso:0.001", "stein-mean")
"""Estimators in the order in which they get a column, while there is room."""
_FIXED, _COLUMN = 33, 13


def print_inspection(inspection: Inspection, asked: Sequence[str] = (), console: Console | None = None) -> None:
    """Print the table to stdout, or to `console`; see `print_uncut`.

    Args:
        inspection: what to show.
        asked: estimators to show in any case; if empty, those that fit.
        console: where to print.
    """
    console = console or Terminal()
    layers = inspection.found.layers
    names = max((len(layer.name) for layer in layers), default=0)
    known = layers[0].shrinkage if layers else {}
    fit = max((console.width - _FIXED - names) // _COLUMN, 2)
    shown = list(asked) or [name for name in PREFERRED if name in known][:fit]
    print_uncut(_parts(inspection, shown, [name for name in known if name not in shown]), console)


def _parts(inspection: Inspection, shown: Sequence[str], left_out: Sequence[str]) -> RenderableType:
    found = inspection.found
    heading = Text(one_line(inspection.model), style="bold")
    heading.append(
        f", weights: {inspection.weights_kind}, trained with {inspection.trained_with}; "
        f"{len(found.layers)} BN layers convertible, {len(found.skipped)} not",
        style="not bold",
    )
    notes = note_list(_notes(inspection, left_out))
    parts: list[RenderableType] = [Paragraph(heading)]
    parts += [Text(), _layers(found.layers, shown)] if found.layers else []
    parts += [Text(), _skipped(inspection)] if found.skipped else []
    return Group(*parts, Text(), notes)


def _layers(layers: Sequence[LayerInspection], estimators: Sequence[str]) -> TextTable:
    headers = ("C", "N", "mean\nrms", "var\nmedian", *(f"{name}\nmean  var" for name in estimators))
    table = TextTable([Column("layer", name=True), *(Column(header, right=True) for header in headers)])
    for layer in layers:
        statistics = layer.statistics
        number = "∞" if layer.count is None else f"{layer.count:,}"
        moments = (f"{statistics.mean_rms:.3g}", f"{statistics.variance.median:.3g}") if statistics else ("–", "–")
        shrunk = [_shrinkage(layer.shrinkage.get(name)) for name in estimators]
        assumed = "*" if layer.count_source == "batch" else ""
        table.add(one_line(layer.name or layer.kind), str(layer.channels), number + assumed, *moments, *shrunk)
    return table


def _shrinkage(shrinkage: Shrinkage | None) -> str:
    if shrinkage is None:
        return "–"
    kept = "–" if shrinkage.mean_kept is None else _digits(100 * shrinkage.mean_kept)
    return f"{kept} {_ratio(shrinkage.variance_ratio):>6}"


def _ratio(ratio: Range | None) -> str:
    return "–" if ratio is None else _digits(100 * ratio.median)


def _digits(percentage: float) -> str:
    return f"{percentage:.1f}" if abs(percentage) < 9999.95 else f"{percentage:.0e}"


def _skipped(inspection: Inspection) -> TextTable:
    table = TextTable([Column("not converted", name=True), Column("class", name=True), Column("reason", name=True)])
    for layer in inspection.found.skipped:
        table.add(*map(one_line, (layer.name, layer.kind, layer.reason)))
    return table


def _notes(inspection: Inspection, left_out: Sequence[str]) -> Iterator[str]:
    layers = inspection.found.layers
    if not layers:
        yield "no BN layer that could be converted"
        return
    yield "under each estimator: its mean and variance (median channel) in percent of the sample estimator's"
    if left_out:
        yield f"not shown: {', '.join(left_out)}; see --bn NAME, --format json"
    if any(layer.count_source == "batch" for layer in layers):
        yield f"* N is not in the weights; assumed: elements per channel in a training batch of {inspection.batch_size}"
    if any(layer.count_source == "unknown" for layer in layers):
        yield "N = ∞: N is unknown; estimators that use it do not shrink these layers"
    if any(layer.statistics is None for layer in layers):
        yield "–: the layer keeps no running averages"
    if inspection.weights_kind == "none" and all(_untouched(layer) for layer in layers):
        yield "untrained: means are 0 and variances 1; use --weights pretrained, fit or a file"


def _untouched(layer: LayerInspection) -> bool:
    """Return whether a layer's running averages are still those of a new one."""
    found = layer.statistics
    return found is None or (found.mean_rms == 0 and found.variance.min == found.variance.max)
