"""Figures of plain data series, without report, torch or display. Nothing is distinguished by color alone."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stein_bench.errors import UsageError, one_line

INK = "#010203"
"""Color of text and axes: visually black, but unique, so that an SVG in a page can have it replaced."""
COLORS = ("#0072b2", "#d55e00", "#009e73", "#b8608f", "#8c6d1f", "#7f7f7f")
"""After Okabe and Ito (2008), darkened so that each has a contrast of 3 to both white and near-black."""
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")
SHORT_LABEL, LONG_LABEL = 20, 32
"""Longest label, in characters, of a legend with three and with two columns."""
MOST_NAMED = 5
"""Lines of a figure that are named at their ends; more would need too much room."""
PLOT_SUFFIXES = (".png", ".svg")


@dataclass(frozen=True)
class Series:
    """One line or one set of bars: a value with its interval at each position.

    Attributes:
        label: for the legend.
        x: positions: eps of a curve, or the number of the group of bars.
        y, low, high: values and their 95 % intervals.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", one_line(self.label))


@contextmanager
def style() -> Iterator[None]:
    """Set text, colors and fonts of figures while they are made."""
    ink: dict[Any, Any] = dict.fromkeys(_INKED, INK)
    # A $ in a name must not start math mode.
    more: dict[Any, Any] = {"svg.fonttype": "none", "font.size": 11, "hatch.linewidth": 0.6, "text.parse_math": False}
    with mpl.rc_context({**ink, **more}):
        yield


_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "hatch.color")


def _columns(series: Sequence[Series]) -> int:
    """Return how many legend labels fit side by side."""
    longest = max((len(one.label) for one in series), default=0)
    return 3 if longest <= SHORT_LABEL else 2 if longest <= LONG_LABEL else 1


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: the label of its x axis, the tick labels by position, and the series."""

    xlabel: str
    ticks: Mapping[float, str]
    series: Sequence[Series]


def curve(panels: Sequence[Panel], *, ylabel: str) -> Figure:
    """Draw a line with an interval band for each series; a label has the same style in all panels.

    Up to `MOST_NAMED` lines in a single panel are named at their ends, others in a legend.
    """
    looks = {label: i for i, label in enumerate(dict.fromkeys(one.label for panel in panels for one in panel.series))}
    at_ends = len(panels) == 1 and len(looks) <= MOST_NAMED
    with style():
        figure = Figure(figsize=(5.4 if at_ends else 6.4 + 4.8 * (len(panels) - 1), 4.0), layout="constrained")
        drawn: dict[str, Any] = {}
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for one in panel.series:
                color, marker, dash = (kinds[looks[one.label] % len(kinds)] for kinds in (COLORS, MARKERS, DASHES))
                y, low, high = ([100 * value for value in values] for values in (one.y, one.low, one.high))
                (drawn[one.label],) = axes.plot(one.x, y, color=color, marker=marker, linestyle=dash)
                axes.fill_between(one.x, low, high, color=color, alpha=0.18, linewidth=0)
            budgets(axes, panel)
            if at_ends:
                name_ends(axes, [(one.label, one.x[-1], 100 * one.y[-1]) for one in panel.series if one.x])
        figure.axes[0].set_ylabel(ylabel)
        if not at_ends:
            columns = _columns([one for panel in panels for one in panel.series])
            figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=columns, frameon=False)
    return figure


def budgets(axes: Axes, panel: Panel) -> None:
    """Set up the axes of accuracies in percent against eps; multiples of 1/255 are written without the 255."""
    names = [name.removesuffix("/255") for name in panel.ticks.values()]
    in_levels = all(name == "0" or name.endswith("/255") for name in panel.ticks.values())
    axes.set_xticks(list(panel.ticks), names if in_levels else list(panel.ticks.values()))
    axes.set_xlabel(f"{panel.xlabel}, in 1/255" if in_levels else panel.xlabel)
    axes.set_ylim(-3, 103)
    clean(axes, "y")


def clean(axes: Axes, grid: Literal["x", "y"]) -> None:
    """Leave faint grid lines and no frame."""
    axes.grid(axis=grid, color=INK, alpha=0.15, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def name_ends(axes: Axes, ends: Sequence[tuple[str, float, float]]) -> None:
    """Write the name of every line beside its last point (name, x, y); names that would overlap are moved apart."""
    low, high = axes.get_ylim()
    right = max((x for _, x, _ in ends), default=0.0)
    line = 0.062 * (high - low)
    texts = [(wrapped(name), x, y) for name, x, y in sorted(ends, key=lambda end: end[2])]
    places: list[float] = []
    floor = low + line / 2
    for text, _, y in texts:
        half = line * (text.count("\n") + 1) / 2
        places.append(max(y, floor + half - line / 2))
        floor = places[-1] + half + line / 2
    for (text, x, y), place in zip(texts, places, strict=True):
        to = (right + 0.07 * (right - axes.get_xlim()[0] or 1), place)
        leader = {"arrowstyle": "-", "color": INK, "alpha": 0.45, "linewidth": 0.7, "shrinkB": 3}
        axes.annotate(text, xy=(x, y), xytext=to, va="center", annotation_clip=False, arrowprops=leader)


def wrapped(name: str, width: int = 18) -> str:
    """Return a name on lines of about `width` characters, broken after a hyphen, slash or comma."""
    lines = [""]
    for part in re.findall(r"[^-/, ]*[-/, ]*", one_line(name)):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)


def bars(groups: Sequence[str], series: Sequence[Series], *, xlabel: str) -> Figure:
    """Draw horizontal bars with intervals, grouped; the series of a group are stacked vertically, the first on top."""
    rows = len(groups) * (len(series) + 1)
    with style():
        figure = Figure(figsize=(6.4, 1.4 + 0.22 * rows), layout="constrained")
        axes = figure.subplots()
        for number, one in enumerate(series):
            color, hatch = COLORS[number % len(COLORS)], HATCHES[number % len(HATCHES)]
            places = [x * (len(series) + 1) + number for x in one.x]
            axes.barh(
                places, [100 * y for y in one.y], height=0.85, color=color, alpha=0.75, hatch=hatch, label=one.label
            )
            middle, reach = ([50 * (h + s * w) for w, h in zip(one.low, one.high, strict=True)] for s in (1, -1))
            axes.errorbar(middle, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2)
        centers = [group * (len(series) + 1) + (len(series) - 1) / 2 for group in range(len(groups))]
        axes.set_yticks(centers, list(map(one_line, groups)))
        axes.invert_yaxis()
        axes.set_xlim(0, 103)
        axes.set_xlabel(xlabel)
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=_columns(series), frameon=False)
    return figure


def dots(panels: Sequence[tuple[str, Sequence[Series]]], rows: Sequence[str], *, xlabel: str, zero: bool) -> Figure:
    """Draw one panel per outcome with a dot and its interval for every row and series.

    Args:
        panels: titles and series; `Series.x` is the row number, from 0 at the top.
        rows: names of the rows.
        xlabel: label of the values, which are drawn in percent.
        zero: whether to mark zero (no difference) with a line.
    """
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    with style():
        figure = Figure(figsize=(2.2 + 2.1 * across, 1.2 + down * (0.7 + 0.3 * len(rows))), layout="constrained")
        grid = np.ravel(figure.subplots(down, across, sharey=True, squeeze=False))
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes, (title, series) in zip(grid, panels, strict=False):
            for number, one in enumerate(series):
                color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
                places = [x + 0.26 * (number - (len(series) - 1) / 2) for x in one.x]
                for y, low, high, place in zip(one.y, one.low, one.high, places, strict=True):
                    axes.plot([100 * low, 100 * high], [place, place], color=color, linewidth=1.6)
                    axes.plot([100 * y], [place], color=color, marker=marker, markersize=5)
                axes.plot([], [], color=color, marker=marker, label=one.label)
            if zero:
                axes.axvline(0, color=INK, alpha=0.5, linewidth=0.8)
            axes.set_title(one_line(title), fontsize=10)
            axes.set_yticks(range(len(rows)), list(map(one_line, rows)))
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        figure.supxlabel(xlabel, fontsize=10)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    return figure


def by_layer(series: Sequence[Series], *, ylabel: str) -> Figure:
    """Draw a figure of every BN layer, from input to output, as lines with bands that are named at their ends."""
    with style():
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        axes = figure.subplots()
        for number, one in enumerate(series):
            color, marker, dash = (kinds[number % len(kinds)] for kinds in (COLORS, MARKERS, DASHES))
            axes.plot(one.x, one.y, color=color, marker=marker, linestyle=dash, markersize=4, label=one.label)
            axes.fill_between(one.x, one.low, one.high, color=color, alpha=0.18, linewidth=0)
        axes.axhline(1, color=INK, alpha=0.35, linewidth=0.8)
        axes.set_ylabel(ylabel)
        axes.set_xlabel("BN layer, from input to output")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        clean(axes, "y")
        if len(series) <= MOST_NAMED:
            axes.autoscale_view()
            name_ends(axes, [(one.label, one.x[-1], one.y[-1]) for one in series if one.x])
        else:
            figure.legend(loc="outside lower center", ncols=_columns(series), frameon=False)
    return figure


def pictures(rows: Sequence[tuple[str, Sequence[tuple[str, NDArray[np.uint8]]]]]) -> Figure:
    """Draw rows of pictures (H, W, 3), with a title for each row and each picture."""
    most = max(len(row) for _, row in rows)
    with style():
        figure = Figure(figsize=(1.9 * most, 2.25 * len(rows)), layout="constrained")
        grid = np.atleast_2d(figure.subplots(len(rows), most, squeeze=False))
        for axes_row, (title, row) in zip(grid, rows, strict=True):
            for axes in axes_row:
                axes.set_axis_off()
            for number, (axes, (name, picture)) in enumerate(zip(axes_row, row, strict=False)):
                axes.imshow(picture, interpolation="nearest")
                lines = (title, name) if number == 0 else (name,)
                axes.set_title("\n".join(map(one_line, lines)), fontsize=7, loc="left")
    return figure


def svg_text(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element for a page, in the page's text color and with ids that begin with `name`.

    Equal figures give identical text.
    """
    stream = io.StringIO()
    _save(figure, stream, "svg", name, transparent=True)
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style type.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    width = 72 * figure.get_figwidth()
    # Text stays readable: on a narrow screen a wide figure scrolls, on a wide screen a small one stays small.
    size = f'style="min-width:{0.92 * width:.0f}px;max-width:{1.45 * width:.0f}px"'
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', rf'\1 {size} aria-hidden="true" focusable="false"', text, count=1)
    return text.replace(INK, "currentColor").strip()


def save(figure: Figure, path: str | Path, option: str) -> None:
    """Write a figure as .png or .svg on white; equal figures give identical files.

    Raises:
        UsageError: the file cannot be written; the message names the `option`.
    """
    try:
        _save(figure, path, Path(path).suffix.lower().removeprefix("."), "stein-bench", transparent=False)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror or error}.") from None


def _save(figure: Figure, target: io.StringIO | str | Path, kind: str, salt: str, *, transparent: bool) -> None:
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type")) if kind == "svg" else {"Software": None}
    with style(), mpl.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names with characters that the font lacks, or too long ones
        figure.savefig(target, format=kind, dpi=150, metadata=nothing, transparent=transparent)
