"""Figures of many series as small multiples: a panel each, on the same axes, so that none hides another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stein_bench.errors import one_line
from stein_bench.render.figures import COLORS, INK, Panel, Series, budgets, clean, style, wrapped

ACROSS = 3
"""Panels side by side at most."""


def _across(count: int) -> int:
    return 2 if count in (2, 4) else min(ACROSS, count)


def _panels(figure: Figure, count: int) -> list[Any]:
    across = _across(count)
    grid = np.ravel(figure.subplots(-(-count // across), across, squeeze=False, sharex=True, sharey=True))
    for axes in grid[count:]:
        axes.set_axis_off()
    return list(grid[:count])


def curves_apart(panel: Panel, *, ylabel: str) -> Figure:
    """Draw a panel for each series: its line with its band, and the others in gray behind it."""
    down = -(-len(panel.series) // _across(len(panel.series)))
    with style():
        figure = Figure(figsize=(6.8, 0.6 + 2.1 * down), layout="constrained")
        for axes, one in zip(_panels(figure, len(panel.series)), panel.series, strict=True):
            for other in panel.series:
                axes.plot(other.x, [100 * y for y in other.y], color=INK, alpha=0.22, linewidth=0.8)
            axes.fill_between(one.x, *([100 * v for v in values] for values in (one.low, one.high)),
                              color=COLORS[0], alpha=0.18, linewidth=0)  # fmt: skip
            axes.plot(one.x, [100 * y for y in one.y], color=COLORS[0], marker="o", markersize=4)
            budgets(axes, Panel("", panel.ticks, panel.series))
            axes.set_title(wrapped(one.label, 24), fontsize=10, loc="left")
            axes.set_xlabel("")
            axes.tick_params(labelsize=9)
        levels = any(name.endswith("/255") for name in panel.ticks.values())
        figure.supxlabel(f"{panel.xlabel}, in 1/255" if levels else panel.xlabel, fontsize=10)
        figure.supylabel(ylabel, fontsize=10)
    return figure


def bars_apart(rows: Sequence[str], series: Sequence[Series], *, xlabel: str) -> Figure:
    """Draw a panel for each series with a bar, its interval and its value for every row.

    A thin line across a bar marks the value of the first series in that row.
    """
    across = _across(len(series))
    down = -(-len(series) // across)
    with style():
        size = (5.4 if across == 1 else 6.8, 0.75 + down * (0.45 + 0.27 * len(rows)))
        figure = Figure(figsize=size, layout="constrained")
        first = dict(zip(series[0].x, series[0].y, strict=True))
        for axes, one in zip(_panels(figure, len(series)), series, strict=True):
            values, places = [100 * y for y in one.y], list(one.x)
            axes.barh(places, values, height=0.62, color=COLORS[0], alpha=0.55)
            axes.hlines(places, [100 * v for v in one.low], [100 * v for v in one.high], color=INK, linewidth=1)
            for place, value in zip(places, values, strict=True):
                axes.text(124, place, f"{value:.1f}", va="center", ha="right", fontsize=8.5)
            if one is not series[0]:
                marked = [(x, 100 * first[x]) for x in places if x in first]
                axes.vlines([y for _, y in marked], [x - 0.42 for x, _ in marked], [x + 0.42 for x, _ in marked],
                            color=COLORS[1], linewidth=2)  # fmt: skip
            axes.set_title(wrapped(one.label, 24), fontsize=10, loc="left")
            axes.set_yticks(range(len(rows)), list(map(one_line, rows)))
            axes.tick_params(axis="y", length=0, labelsize=9)
            axes.tick_params(axis="x", labelsize=9)
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.set_xlim(0, 124)
            axes.set_xticks([0, 50, 100])
            axes.set_axisbelow(True)
            clean(axes, "x")
        figure.supxlabel(xlabel, fontsize=10)
    return figure
