"""Plots of the simulated risks and the Lipschitz constants, drawn without a display."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from stein_bench.errors import UsageError
from stein_bench.render.theory.risk import SHORT
from stein_bench.theory.constants import LipschitzStudy
from stein_bench.theory.lipschitz import Layer
from stein_bench.theory.names import TARGETS, Target
from stein_bench.theory.study import RiskStudy

COLORS = "PuOr_r"
"""Diverging and safe for color-blind readers: purple is below 1, orange above."""
SAFE = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Line colors: those of Okabe and Ito, safe for color-blind readers."""


def plot_risk(study: RiskStudy, path: str | Path) -> None:
    """Draw the risk ratios as one map per estimator and target: contamination and C down, spread and N across.

    Raises:
        UsageError: the file cannot be written.
    """
    settings = study.settings
    rows = len(settings.contaminations) * len(settings.channels)
    columns = len(settings.spreads) * len(settings.elements)
    height = 0.9 + 0.12 * rows
    figure = Figure(
        figsize=(max(2 * (1.6 + 0.26 * columns), 8.0), height * len(settings.estimators) + 1.6), layout="constrained"
    )
    axes = figure.subplots(len(settings.estimators), 2, sharex=True, sharey=True, squeeze=False)
    norm = SymLogNorm(linthresh=0.01, vmin=-4, vmax=4, base=10)
    for row, name in zip(axes, settings.estimators, strict=True):
        for target, axis in zip(TARGETS, row, strict=True):
            _draw_map(axis, study, name, target, norm)
    bar = figure.colorbar(axes[0, 0].images[0], ax=axes, location="top", aspect=60, extend="both", pad=0.01)
    ticks = (1e-4, 0.1, 0.5, 0.9, 0.99, 1, 1.01, 1.1, 2, 10, 1e4)
    bar.set_ticks([math.log10(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    bar.set_label(
        "risk / risk of the sample estimator (purple: smaller, orange: larger; dot: undecided; blank: the same)"
    )
    _save(figure, path)


def _draw_map(axis: Axes, study: RiskStudy, name: str, target: Target, norm: SymLogNorm) -> None:
    settings = study.settings
    rows = [(kind, c) for kind in settings.contaminations for c in settings.channels]
    columns = [(spread, n) for spread in settings.spreads for n in settings.elements]
    ratios = np.full((len(rows), len(columns)), np.nan)
    for cell in study.cells:
        place = rows.index((cell.contamination, cell.channels)), columns.index((cell.spread, cell.elements))
        item = next(item for item in cell.comparisons if (item.estimator, item.target) == (name, target))
        if not item.ratio.same:
            ratios[place] = math.log10(max(item.ratio.ratio, 1e-30))
            if study.verdict(item) == "undecided":
                axis.plot(place[1], place[0], ".", color="0.2", markersize=3)
    axis.imshow(ratios, cmap=COLORS, norm=norm, aspect="auto", interpolation="nearest")
    axis.set_title(f"{name}: {target}", fontsize=10, loc="left")
    _label(axis, study)


def _label(axis: Axes, study: RiskStudy) -> None:
    settings = study.settings
    deep, wide = len(settings.channels), len(settings.elements)
    axis.set_yticks(
        [deep * i + (deep - 1) / 2 for i in range(len(settings.contaminations))],
        [SHORT[name] for name in settings.contaminations],
        fontsize=8,
    )
    axis.set_xticks(
        [wide * i + (wide - 1) / 2 for i in range(len(settings.spreads))],
        [f"spread {spread:g}" for spread in settings.spreads],
        fontsize=8,
    )
    axis.tick_params(length=0)
    for place in range(1, len(settings.contaminations)):
        axis.axhline(deep * place - 0.5, color="0.5", linewidth=0.6)
    for place in range(1, len(settings.spreads)):
        axis.axvline(wide * place - 0.5, color="0.5", linewidth=0.6)
    if axis.get_subplotspec() is not None and axis.get_subplotspec().is_last_row():  # type: ignore[union-attr]
        axis.set_xlabel(f"within a block: N = {', '.join(map(str, settings.elements))}, left to right", fontsize=8)
    if axis.get_subplotspec() is not None and axis.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        axis.set_ylabel(f"C = {', '.join(map(str, settings.channels))}\ndownwards", fontsize=7)


def plot_lipschitz(study: LipschitzStudy, path: str | Path) -> None:
    """Draw each layer's constant and, below it, the ratio to plain BN's, for every estimator.

    Raises:
        UsageError: the file cannot be written.
    """
    layers = study.layers
    figure = Figure(figsize=(max(8.0, min(0.3 * len(layers), 24.0)), 7.5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    line = "-" if study.network else "none"  # random batches are not a sequence
    for index, name in enumerate(study.settings.bn):
        norms = [layer.constants[index].norm for layer in layers]
        style = {
            "color": SAFE[index % len(SAFE)],
            "marker": "osD^vPX"[index % 7],
            "linewidth": max(3.5 - index, 1.2),
            "markersize": max(8 - index, 5),
            "alpha": 0.85,
            "linestyle": line,
        }
        top.plot(_positive(norms), label="plain BN" if name == "sample" else name, **style)
        if name != "sample":
            bottom.plot(_positive(study.ratios(name)), **style)
    closed = [layer.constants[0].closed_form for layer in layers]
    top.plot(_positive(closed), "+", color="0.1", markersize=10, label="plain BN,\nclosed form")
    for axis, label in ((top, "local Lipschitz constant"), (bottom, "constant / plain BN's")):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_ylabel(label)
        axis.grid(axis="y", color="0.9", linewidth=0.8)
    bottom.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    bottom.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bottom.axhline(1, color="0.3", linewidth=1.0, zorder=0)
    bottom.set_xticks(range(len(layers)), [_place(layer) for layer in layers], rotation=90, fontsize=7)
    bottom.set_xlabel("BN layer, from input to output" if study.network else "channels × elements, spread of means")
    network = study.network
    top.set_title(
        f"{network.model} on {network.samples} samples of {network.data}, weights: {network.weights_kind}, trained "
        f"with {network.trained_with}"
        if network
        else "Random Gaussian batches"
    )
    top.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    _save(figure, path)


def _positive(values: Sequence[float | None]) -> list[float]:
    """Return the values for a logarithmic axis, with gaps for those it cannot show."""
    return [math.nan if value is None or value <= 0 else value for value in values]


def _place(layer: Layer) -> str:
    return layer.name if layer.name is not None else f"{layer.channels}×{layer.elements:,}, {layer.spread:g}"


def _save(figure: Figure, path: str | Path) -> None:
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror or error}.") from None
