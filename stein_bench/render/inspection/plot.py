"""Plot of a model's shrinkage by layer, drawn without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from stein_bench.errors import UsageError, one_line
from stein_bench.evaluation.inspection import Inspection
from stein_bench.normalization.inspection import LayerInspection

NAMED_LAYERS = 70
"""With more layers than this, they are numbered, since names would overlap."""


@mpl.rc_context({"text.parse_math": False})  # a $ in a name must not start math mode
def plot_shrinkage(inspection: Inspection, path: str | Path) -> None:
    """Draw the share of the mean that each layer keeps, and its variance ratios, under each estimator.

    Raises:
        UsageError: there is nothing to draw, or the file cannot be written.
    """
    layers = [layer for layer in inspection.found.layers if layer.shrinkage]
    if not layers:
        raise UsageError(f"--plot {path}: {inspection.model} has no BN layer with running averages to draw.")
    figure = Figure(figsize=(max(8.0, min(0.24 * len(layers), 24.0)), 7.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    for index, name in enumerate(layers[0].shrinkage):
        # Curves often coincide: earlier ones are wider, so that they remain visible below the later ones.
        style = {"color": f"C{index % 10}", "marker": "osD^vP"[index % 6], "linewidth": max(4 - 0.7 * index, 0.8)}
        _draw_estimator(top, bottom, layers, name, {**style, "markersize": max(8 - index, 3), "alpha": 0.8})
    top.set_ylabel("share of the mean kept")
    top.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    title = f"{inspection.model}, weights: {inspection.weights_kind}, trained with {inspection.trained_with}"
    top.set_title(one_line(title))
    bottom.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    bottom.set_ylabel("variance, shrunk / sample\n(median and range over channels)")
    bottom.set_yscale("log")
    for axis_formatter in (bottom.yaxis.set_major_formatter, bottom.yaxis.set_minor_formatter):
        axis_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    bottom.yaxis.set_minor_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    named = len(layers) <= NAMED_LAYERS
    if named:
        bottom.set_xticks(range(len(layers)), [_label(layer) for layer in layers], rotation=90, fontsize=7)
    bottom.set_xlabel("BN layer, from input to output" if named else "number of the BN layer, from input to output")
    top.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror or error}.") from None


def _draw_estimator(top: Axes, bottom: Axes, layers: list[LayerInspection], name: str, style: dict[str, Any]) -> None:
    found = [(i, layer.shrinkage[name]) for i, layer in enumerate(layers)]
    kept = [(i, shrinkage.mean_kept) for i, shrinkage in found if shrinkage.mean_kept is not None]
    top.plot(*_columns(kept), label=name, **style)
    ratios = [(i, s.variance_ratio) for i, s in found if s.variance_ratio is not None and s.variance_ratio.min > 0]
    places = [i for i, _ in ratios]
    bottom.plot(places, [ratio.median for _, ratio in ratios], **style)
    lows, highs = [ratio.min for _, ratio in ratios], [ratio.max for _, ratio in ratios]
    bottom.fill_between(places, lows, highs, color=style["color"], alpha=0.12, linewidth=0)


def _columns(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _label(layer: LayerInspection) -> str:
    return one_line(layer.name or layer.kind)
