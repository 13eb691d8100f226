"""The figures of a page: an SVG, an alternative text with its numbers, and a caption. Each shows one thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from stein_bench.comparison.pairing import CLEAN, WORST_CASE
from stein_bench.errors import visible
from stein_bench.render.figures import MOST_NAMED, Panel, Series, by_layer, curve, svg_text
from stein_bench.render.multiples import bars_apart, curves_apart
from stein_bench.render.report.outcomes import (
    ResultRow,
    bar_groups,
    curves,
    eps_ticks,
    measure,
    shrinkage_series,
)
from stein_bench.render.report.sections import brief
from stein_bench.report.document import Report
from stein_bench.report.number_format import percent

MOST_TOLD = 40
"""Numbers in an alternative text; of more the range is told, since the tables have them all."""
MOST_ROWS = 14
"""Rows of a figure of attacks; with more, those at the largest eps stand for all."""


def figure_part(svg: str, alt: str, caption: str, title: str = "") -> dict[str, Any]:
    """Return a figure for the template: its SVG text, its alternative text, and its caption, after a title if any."""
    told = Markup("<strong>{}</strong>{}").format(visible(title), visible(caption)) if title else escape(caption)
    # The SVG is generated here; every name in it was escaped when it was drawn.
    return {"svg": Markup(svg), "alt": alt, "caption": told}


def curve_figures(report: Report, anchor: str) -> Iterator[dict[str, Any]]:
    """Yield a line chart for each norm with two budgets or more."""
    what = measure(report)
    for norm, series in curves(report).items():
        ticks = eps_ticks(series)
        panel = Panel(f"ε ({norm})", ticks, series)
        apart = len(series) > MOST_NAMED
        drawn = curves_apart(panel, ylabel=f"{what}, %") if apart else curve([panel], ylabel=f"{what}, %")
        title = f"Worst-case {what} within each {norm} budget"
        caption = "ε = 0 is clean; bands: 95 % intervals. Only the markers were measured."
        if apart:
            caption += " A panel for each variant, with the others in gray."
        told = _told(series, [f"at {name}" for name in ticks.values()], list(ticks))
        alt = f"Line chart of {what} against ε. {told}."
        yield figure_part(svg_text(drawn, f"{anchor}-curve-{norm}"), alt, caption, title)


def attack_figure(report: Report, rows: Sequence[ResultRow], anchor: str) -> dict[str, Any] | None:
    """Return bars of the clean accuracy, every attack and the worst case, the strongest last, a panel per variant."""
    attacks = {attack.label: attack for variant in report.variants for attack in variant.attacks}
    own = [row for row in rows if row.accuracy in (CLEAN, WORST_CASE) or row.accuracy in attacks]
    left_out = ""
    if len({row.accuracy for row in own}) > MOST_ROWS:
        largest = {norm: max(a.eps for a in attacks.values() if a.norm == norm) for norm in _norms(report)}
        kept = {label for label, attack in attacks.items() if attack.eps == largest[attack.norm]}
        left_out = " Attacks at the largest ε; the table has them all." if len(kept) < len(attacks) else ""
        own = [row for row in own if row.accuracy in (CLEAN, WORST_CASE) or row.accuracy in kept]
    return _bars(own, report, f"{anchor}-bars", "attack", f"Clean, under each attack, and worst case{{}}.{left_out}")


def noise_figure(report: Report, rows: Sequence[ResultRow], anchor: str) -> dict[str, Any] | None:
    """Return bars of the clean accuracy and of every corruption that has a row of its own; None without any."""
    apart = {one.label for variant in report.variants for one in variant.corruptions}
    if not any(row.accuracy in apart for row in rows):
        return None
    own = [row for row in rows if row.accuracy == CLEAN or row.accuracy in apart]
    return _bars(
        own, report, f"{anchor}-noise", "corruption", "Clean and under each corruption{}; these are not attacks."
    )


def _norms(report: Report) -> list[str]:
    return list(dict.fromkeys(attack.norm for variant in report.variants for attack in variant.attacks))


def _bars(rows: Sequence[ResultRow], report: Report, name: str, by: str, caption: str) -> dict[str, Any] | None:
    groups, series = bar_groups([("", row) for row in rows])
    if not series or len(groups) * len(series) < 3:
        return None
    first = dict(zip(series[0].x, series[0].y, strict=True))
    order = sorted(range(len(groups)), key=lambda number: -first.get(number, -1.0))
    groups = [groups[number] for number in order]
    series = [_reordered(one, order) for one in series]
    what = measure(report)
    drawn = bars_apart([brief(group) for group in groups], series, xlabel=f"{what}, %")
    alt = f"Bar chart of {what} by {by}. {_told(series, groups, range(len(groups)))}."
    title = f"{by[:1].upper()}{by[1:]}s by {what}, the lowest last"
    panels = f", a panel for each variant; the upright line marks {series[0].label}" if len(series) > 1 else ""
    return figure_part(svg_text(drawn, name), alt, caption.replace("{}", panels) + " Lines: 95 % intervals.", title)


def _reordered(one: Series, order: Sequence[int]) -> Series:
    places = sorted(range(len(one.x)), key=lambda i: order.index(int(one.x[i])))
    x = tuple(float(order.index(int(one.x[i]))) for i in places)
    return Series(one.label, x, *(tuple(values[i] for i in places) for values in (one.y, one.low, one.high)))


def _told(series: Sequence[Series], names: Sequence[str], places: Sequence[float]) -> str:
    """Return the numbers of a figure as text, or their ranges if they are many."""
    at = dict(zip(places, names, strict=True))
    if sum(len(one.x) for one in series) <= MOST_TOLD:
        return "; ".join(
            f"{one.label}: " + ", ".join(_point(at[x], y) for x, y in zip(one.x, one.y, strict=True)) for one in series
        )
    return "; ".join(
        f"{one.label}: from {_point(at[one.x[one.y.index(max(one.y))]], max(one.y))} "
        f"to {_point(at[one.x[one.y.index(min(one.y))]], min(one.y))}"
        for one in series
        if one.x
    )


def _point(name: str, share: float) -> str:
    return f"{percent(share)} % {name}" if name.startswith("at ") else f"{name} {percent(share)} %"


def shrinkage_figures(report: Report, anchor: str) -> Iterator[dict[str, Any]]:
    """Yield the share of the mean that each estimator keeps, and its variance ratio, by layer."""
    kept, ratios = shrinkage_series(report)
    parts: tuple[tuple[str, Sequence[Series], str, str, str, str], ...] = (
        ("kept", kept, "share of the mean kept", "Share of the mean that is kept, by layer",
         "Effect of each estimator on the running mean; 1 means that nothing is shrunk.", "Share of the mean kept"),
        ("ratio", ratios, "variance, shrunk / sample", "Ratio of shrunk to sample variance, by layer",
         "Lines: the median over channels; bands: their range.", "Median ratio of the variances"),
    )  # fmt: skip
    for name, series, ylabel, title, caption, told in parts:
        if not any(one.x for one in series):
            continue
        ranges = "; ".join(f"{one.label}: {min(one.y):.3g} to {max(one.y):.3g}" for one in series if one.y)
        caption += " Under batch statistics the batch's own moments are shrunk."
        alt = f"Line chart by BN layer, from input to output. {told}: {ranges}."
        yield figure_part(svg_text(_by_layer(series, ylabel), f"{anchor}-{name}"), alt, caption, title)


def _by_layer(series: Sequence[Series], ylabel: str) -> Figure:
    return by_layer([one for one in series if one.x], ylabel=ylabel)
