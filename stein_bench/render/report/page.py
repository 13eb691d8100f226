"""Reports as one self-contained page: it loads nothing, and every text in it is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from stein_bench.comparison.compare import compare
from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.leaderboard import Named
from stein_bench.comparison.pairing import variant_name
from stein_bench.errors import UsageError, visible
from stein_bench.render.comparison.compare import Grid, grid
from stein_bench.render.figures import Panel, Series, bars, curve, layers, svg_text
from stein_bench.render.report.adaptive import adaptive_notes
from stein_bench.render.report.attack_network import attack_network_notes
from stein_bench.render.report.calibration import CALIBRATION, calibration_cells
from stein_bench.render.report.effects import COLUMNS, READING
from stein_bench.render.report.expected import expected_notes
from stein_bench.render.report.gallery import Shot, data_uri, shots
from stein_bench.render.report.groups import group_grids, group_notes
from stein_bench.render.report.loading import loading_notes
from stein_bench.render.report.marks import legend
from stein_bench.render.report.metrics import TITLES, metric_rows
from stein_bench.render.report.outcomes import (
    ResultRow,
    bar_groups,
    curves,
    eps_ticks,
    measure,
    result_rows,
    row_texts,
    shrinkage_series,
)
from stein_bench.render.report.own_metrics import OWN_METRICS, own_metric_cells
from stein_bench.render.report.table import about
from stein_bench.render.report.unsearched import unsearched_notes
from stein_bench.report.adversarials import Gallery
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN, p_value, percent, signed
from stein_bench.report.results import Effect, Figure, VariantResult

LAST = {"fail": 0, "warn": 1, "pass": 2}


@dataclass(frozen=True)
class Source:
    """A report, its name, and its adversarial examples or the reason why they cannot be shown."""

    name: str
    report: Report
    gallery: Gallery | None = None
    problem: str = ""


def html_page(sources: Sequence[Source]) -> str:
    """Return the reports as an HTML document.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    pages = [_page(source, f"report-{number}") for number, source in enumerate(sources, 1)]
    title = f"{len(sources)} reports" if len(sources) > 1 else sources[0].report.model.name
    text = (
        page_environment()
        .get_template("report.html")
        .render(title=f"{title}: robustness", pages=pages, compared=_compared(sources) if len(sources) > 1 else None)
    )
    return tidy(text)


def page_environment() -> Environment:
    """Return the environment of the page templates, which escapes everything."""
    environment = Environment(
        loader=PackageLoader("stein_bench.render"),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["breakable"] = breakable
    return environment


def breakable(name: object) -> Markup:
    """Return a name, escaped, that may be wrapped after a slash, colon, comma or underscore."""
    return Markup(re.sub(r"(?<=[/:,_])(?=\w)", "<wbr>", str(escape(visible(str(name))))))


def tidy(text: str) -> str:
    """Return a page without trailing white space."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _legend(report: Report) -> Iterator[str]:
    yield from (*legend(report), *group_notes(report), *loading_notes(report), *attack_network_notes(report))
    yield from unsearched_notes(report)
    yield from expected_notes(report)
    yield from adaptive_notes(report)


def _compared(sources: Sequence[Source]) -> Grid | None:
    try:
        return grid(compare([Named(source.name, source.report) for source in sources]))
    except UsageError:
        return None


def _page(source: Source, anchor: str) -> dict[str, Any]:
    report, rows = source.report, result_rows(source.report)
    concluded = conclude(report)
    note, kind = _gallery_note(source)
    found = shots(source.gallery) if source.gallery else []
    return {
        "anchor": anchor,
        "name": source.name,
        "report": report,
        "about": about(report),
        "alerts": report.dishonest(),
        "sentence": concluded.sentence,
        "caveats": concluded.caveats,
        "measure": measure(report),
        "rows": [row_texts(row) for row in rows],
        "legend": "; ".join(_legend(report)),
        "curves": [_curve(report, norm, series, anchor) for norm, series in curves(report).items()],
        "bars": _bars(rows, report, anchor),
        "metrics": _metrics(report),
        "own_metrics": _with_note(*own_metric_cells(report), OWN_METRICS),
        "calibration": _with_note(*calibration_cells(report), CALIBRATION),
        "groups": group_grids(report, intervals=True, everything=True),
        "effects": [_effects(variant) for variant in report.variants if variant.effects],
        "effects_reading": READING.format(what=measure(report)),
        "shrinkage": _shrinkage(report, anchor),
        "gallery": list(_groups(found, report)),
        "gallery_note": note,
        "gallery_class": kind,
        "checks": _checks(report),
        "diagnostics": sorted(report.diagnostics, key=lambda check: LAST[check.status]),
        "provenance": list(_provenance(report)),
        "configuration": json.dumps(report.run.config, indent=2, ensure_ascii=False),
    }


def figure_part(svg: str, alt: str, caption: str) -> dict[str, Any]:
    """Return a figure for the template: its SVG text, its alternative text, and its caption."""
    # The SVG is generated here; every name in it was escaped when it was drawn.
    return {"svg": Markup(svg), "alt": alt, "caption": caption}


def _curve(report: Report, norm: str, series: Sequence[Series], anchor: str) -> dict[str, Any]:
    ticks = eps_ticks(series)
    what = measure(report)
    drawn = curve([Panel(f"ε ({norm})", ticks, series)], ylabel=f"{what}, %")
    told = "; ".join(
        f"{one.label}: " + ", ".join(f"{percent(y)} % at {ticks[x]}" for x, y in zip(one.x, one.y, strict=True))
        for one in series
    )
    caption = (
        f"Worst-case {what} within each {norm} budget; ε = 0 is clean; bands: 95 % intervals. Only the "
        "markers were measured."
    )
    return figure_part(svg_text(drawn, f"{anchor}-curve-{norm}"), f"Line chart of {what} against ε. {told}.", caption)


def _bars(rows: Sequence[ResultRow], report: Report, anchor: str) -> dict[str, Any] | None:
    groups, series = bar_groups([("", row) for row in rows])
    if not series:
        return None
    drawn = bars(groups, series, xlabel=f"{measure(report)}, %")
    told = "; ".join(
        f"{one.label}: " + ", ".join(f"{groups[int(x)]} {percent(y)} %" for x, y in zip(one.x, one.y, strict=True))
        for one in series
    )
    alt = f"Bar chart of {measure(report)} by attack. {told}."
    return figure_part(
        svg_text(drawn, f"{anchor}-bars"), alt, "Clean, under each attack, and worst case; 95 % intervals."
    )


def _shrinkage(report: Report, anchor: str) -> dict[str, Any] | None:
    kept, ratios = shrinkage_series(report)
    if not any(one.x for one in (*kept, *ratios)):
        return None
    told = "; ".join(f"{one.label}: {min(one.y):.3g} to {max(one.y):.3g}" for one in kept if one.y)
    caption = (
        "Effect of each estimator on the running moments: the share of the mean that is kept, and the ratio of "
        "shrunk to sample variance (median and range over channels). "
        "Under batch statistics the batch's own moments are shrunk."
    )
    alt = f"Two line charts by BN layer, from input to output. Share of the mean that is kept: {told}."
    return figure_part(svg_text(layers(kept, ratios), f"{anchor}-layers"), alt, caption)


def _metrics(report: Report) -> dict[str, Any] | None:
    """Return the task's metrics by outcome; for a site its accuracy as well."""
    found = [(variant_name(variant), row) for variant in report.variants for row in metric_rows(variant)]
    names = list(dict.fromkeys(name for _, row in found for name in row.metrics))
    rows = [[name, row.outcome, "all", *(_percent(row.metrics.get(metric)) for metric in names)] for name, row in found]
    for name, row in found:
        for site, of in row.sites.items():
            metrics = (_percent((of.metrics or {}).get(metric)) for metric in names)
            rows.append([name, row.outcome, f"{site} (n = {of.samples}): {percent(of.accuracy)} % correct", *metrics])
    sites, titled = any(row.sites for _, row in found), {**TITLES, "miou": "mIoU"}
    headers = ["BN, statistics", "outcome", "site", *(f"{titled.get(name, name)} %" for name in names)]
    if not sites:
        headers, rows = [headers[0], headers[1], *headers[3:]], [[*row[:2], *row[3:]] for row in rows]
    return {"headers": headers, "rows": rows} if names or sites else None


def _with_note(headers: list[str], rows: list[list[str]], note: str) -> dict[str, Any] | None:
    return {"headers": headers, "rows": rows, "note": f"{note[:1].upper()}{note[1:]}."} if rows else None


def _percent(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return UNKNOWN
    between = f" ({percent(figure.ci95[0])}–{percent(figure.ci95[1])})" if figure.ci95 else ""
    return percent(figure.value) + between


def _effects(variant: VariantResult) -> dict[str, Any]:
    names = titles(variant.attacks)
    cells: dict[tuple[str, str], Effect] = {(effect.outcome, effect.name): effect for effect in variant.effects}
    rows = []
    for outcome in dict.fromkeys(effect.outcome for effect in variant.effects):
        row = [names.get(outcome, outcome)]
        for name, _ in COLUMNS:
            effect = cells.get((outcome, name))
            row.append(UNKNOWN if effect is None else f"{signed(effect.difference)} (p {p_value(effect.p)})")
        rows.append(row)
    headers = [" ".join(header.format(bn=variant.bn).split()) for _, header in COLUMNS]
    return {"bn": variant.bn, "headers": headers, "rows": rows}


def _groups(found: Sequence[Shot], report: Report) -> Iterator[dict[str, Any]]:
    names = {label: name for variant in report.variants for label, name in titles(variant.attacks).items()}
    for variant, attack in dict.fromkeys((shot.variant, shot.attack) for shot in found):
        own = [shot for shot in found if (shot.variant, shot.attack) == (variant, attack)]
        pictured = [
            {"title": s.title, "broken": s.broken, "pictures": [(name, data_uri(p)) for name, p in s.pictures]}
            for s in own
        ]
        yield {"title": f"{variant}, {names.get(attack, attack)}", "shots": pictured}


def _gallery_note(source: Source) -> tuple[str, str]:
    if source.problem:
        return source.problem, "alert"
    if source.gallery is None and not any(variant.attacks for variant in source.report.variants):
        return "No attack was run.", "dim"
    if source.gallery is None:
        return "None were stored; evaluate with --save-adversarials N.", "dim"
    return (
        "The first broken samples of every variant and attack; the difference is magnified as stated, gray means no "
        "difference. They were selected because the attack broke them, so they say nothing about its success rate.",
        "dim",
    )  # fmt: skip


def _checks(report: Report) -> str:
    counts = [(sum(check.status == status for check in report.diagnostics), status) for status in LAST]
    told = {"fail": "failed", "warn": "warned", "pass": "passed"}
    return ", ".join(f"{count} {told[status]}" for count, status in counts if count) + "."


def _provenance(report: Report) -> Iterator[tuple[str, str]]:
    run, model, where = report.run, report.model, report.run.environment
    yield "run", f"{run.id}, {run.created}, {run.wall_seconds:.0f} s, seed {run.seed}"
    yield "preset", run.preset or "none"
    yield "model", f"{model.source}, {model.parameters:,} parameters, {model.batchnorm_layers} BN layers"
    for variant in report.variants:
        yield (
            f"{variant.bn}/{variant.stats}",
            f"{variant.converted_layers} layers converted ({variant.conversion}), {len(variant.skipped_layers)} not; "
            f"weights {variant.weights.kind}, SHA-256 {variant.weights.sha256 or UNKNOWN}",
        )
    yield "data", f"{report.data.name}, {report.data.split}, SHA-256 {report.data.sha256}"
    for part in run.parts or ():
        origin = f", {part.origin}" if part.origin else ""
        yield f"{part.kind} of the user's own", f"{part.name}{origin}, SHA-256 {part.sha256}"
    yield "configuration", f"SHA-256 {run.config_sha256}"
    yield (
        "machine",
        f"{where.platform}, {where.device}, {where.threads} threads, {where.precision}, Python {where.python}",
    )
    if run.attack_network:
        yield "attack network", run.attack_network.summary()
    yield "packages", ", ".join(f"{name} {version}" for name, version in where.packages.items())
    yield "git commit", where.git_commit or UNKNOWN
    if report.adversarials:
        yield "adversarial examples", f"{report.adversarials.file}, SHA-256 {report.adversarials.sha256}"
