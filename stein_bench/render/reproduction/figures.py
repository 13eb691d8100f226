"""Plots of an experiment: means over seeds, and differences from plain BN."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from stein_bench.render.figures import Series, dots
from stein_bench.report.number_format import percent, signed
from stein_bench.reproduction.document import Reproduction, Row

SOURCES = ("running", "batch")


def figure_of_means(rows: Sequence[Row], what: str) -> Figure:
    """Draw the mean of every variant with its standard deviation over the seeds, one panel per outcome."""
    names = list(dict.fromkeys(row.bn for row in rows))
    panels = [(title, _means(own, names)) for title, own in _by_outcome(rows).items()]
    return dots(panels, names, xlabel=f"{what}, %: mean ± sd over seeds", zero=False)


def figure_of_contrasts(rows: Sequence[Row], what: str) -> Figure | None:
    """Draw every estimator's effect with its paired t interval, one panel per outcome; None without an interval."""
    drawn = [row for row in rows if any(c.kind == "estimator" and c.ci95 for c in row.contrasts)]
    if not drawn:
        return None
    names = list(dict.fromkeys(row.bn for row in drawn))
    panels = [(title, _contrasts(own, names)) for title, own in _by_outcome(drawn).items()]
    xlabel = f"{what}, difference from plain BN under the same statistics, in points: 95 % paired t interval"
    return dots(panels, names, xlabel=xlabel, zero=True)


def told_means(rows: Sequence[Row]) -> str:
    """Return the content of `figure_of_means` as text."""
    return "; ".join(
        f"{row.bn}/{row.stats}, {row.title}: {percent(row.mean)} %" for row in rows if row.mean is not None
    )


def told_contrasts(rows: Sequence[Row]) -> str:
    """Return the content of `figure_of_contrasts` as text."""
    return "; ".join(
        f"{row.bn}/{row.stats}, {row.title}: {signed(c.mean)} points"
        for row in rows
        for c in row.contrasts
        if c.kind == "estimator" and c.ci95 is not None
    )


def headline_rows(document: Reproduction, part: str, metric: str) -> list[Row]:
    """Return the rows of a part with this metric."""
    return [row for row in document.rows if row.part == part and row.metric == metric]


def _by_outcome(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.title, []).append(row)
    return found


def _means(rows: Sequence[Row], names: Sequence[str]) -> list[Series]:
    points = [
        (row, row.mean, row.mean - (row.sd or 0), row.mean + (row.sd or 0)) for row in rows if row.mean is not None
    ]
    return _series(points, names)


def _contrasts(rows: Sequence[Row], names: Sequence[str]) -> list[Series]:
    points = [
        (row, c.mean, *c.ci95) for row in rows for c in row.contrasts if c.kind == "estimator" and c.ci95 is not None
    ]
    return _series(points, names)


def _series(points: Sequence[tuple[Row, float, float, float]], names: Sequence[str]) -> list[Series]:
    found = []
    for source in SOURCES:
        own = [point for point in points if point[0].stats == source]
        found.append(
            Series(
                label=f"{source} statistics",
                x=tuple(float(names.index(row.bn)) for row, *_ in own),
                y=tuple(y for _, y, _, _ in own),
                low=tuple(low for _, _, low, _ in own),
                high=tuple(high for _, _, _, high in own),
            )
        )
    return found
