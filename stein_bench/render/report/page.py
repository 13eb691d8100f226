"""Reports as one self-contained page: it loads nothing, and every text in it is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stein_bench.comparison.compare import compare
from stein_bench.comparison.conclusion import conclude
from stein_bench.comparison.leaderboard import Named
from stein_bench.errors import UsageError
from stein_bench.render.comparison.compare import Grid, grid
from stein_bench.render.pages import page_environment, page_script, tidy
from stein_bench.render.report.adaptive import adaptive_notes
from stein_bench.render.report.attack_network import attack_network_notes
from stein_bench.render.report.calibration import CALIBRATION, calibration_cells
from stein_bench.render.report.drawings import attack_figure, curve_figures, noise_figure, shrinkage_figures
from stein_bench.render.report.effects import READING
from stein_bench.render.report.expected import expected_notes
from stein_bench.render.report.gallery import Shot, data_uri, shots
from stein_bench.render.report.groups import group_grids, group_notes
from stein_bench.render.report.loading import loading_notes
from stein_bench.render.report.marks import legend
from stein_bench.render.report.outcomes import measure, result_rows
from stein_bench.render.report.own_metrics import OWN_METRICS, own_metric_cells
from stein_bench.render.report.sections import effects, every_outcome, key_numbers, metric_sheet, with_note
from stein_bench.render.report.table import about
from stein_bench.render.report.unsearched import unsearched_notes
from stein_bench.report.adversarials import Gallery
from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN

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
    environment = page_environment()
    parts: dict[str, Any] = {"pages": pages, "compared": _compared(sources) if len(sources) > 1 else None}
    if any(page["gallery"] for page in pages):
        parts["script"] = page_script(environment, "page.js")
    return tidy(environment.get_template("report.html").render(title=f"{title}: robustness", **parts))


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
    by_status = {status: [check for check in report.diagnostics if check.status == status] for status in LAST}
    page = {
        "anchor": anchor,
        "name": source.name,
        "report": report,
        "about": about(report),
        "alerts": list(_alerts(report)),
        "failed": f"{len(by_status['fail'])} of {len(report.diagnostics)} sanity checks failed"
        if by_status["fail"]
        else "",
        "sentence": concluded.sentence,
        "caveats": concluded.caveats,
        "measure": measure(report),
        "key": key_numbers(report, rows),
        "every": every_outcome(report, rows),
        "corrupted": any(variant.corruptions for variant in report.variants),
        "legend": list(_legend(report)),
        "curves": list(curve_figures(report, anchor)),
        "bars": attack_figure(report, rows, anchor),
        "noises": noise_figure(report, rows, anchor),
        "metrics": metric_sheet(report),
        "own_metrics": with_note(*own_metric_cells(report), OWN_METRICS, "Own metrics by variant and outcome"),
        "calibration": with_note(
            *calibration_cells(report),
            CALIBRATION,
            "Accuracy, confidence and calibration error by variant and outcome",
        ),
        "groups": group_grids(report, intervals=True, everything=True),
        "effects": [effects(variant) for variant in report.variants if variant.effects],
        "effects_reading": READING.format(what=measure(report)),
        "shrinkage": list(shrinkage_figures(report, anchor)),
        "gallery": list(_groups(found, report)),
        "gallery_note": note,
        "gallery_class": kind,
        "checks": _checks(report),
        "notable": [*by_status["fail"], *by_status["warn"]],
        "passed": by_status["pass"],
        "passed_names": ", ".join(dict.fromkeys(check.name for check in by_status["pass"])),
        "provenance": list(_provenance(report)),
        "configuration": json.dumps(report.run.config, indent=2, ensure_ascii=False),
    }
    return {**page, "parts": _parts(page)}


def _alerts(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what failed, with what is known of it; several findings of a check on a variant are one."""
    found: dict[tuple[str, str | None], list[str]] = {}
    for check in report.diagnostics:
        if check.status == "fail":
            found.setdefault((check.name, check.variant), []).append(check.message)
    for (name, variant), messages in found.items():
        more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
        yield f"{name} failed{f' ({variant})' if variant else ''}", messages[0] + more
    yield from (("not trustworthy", line) for line in report.dishonest())


def _parts(page: dict[str, Any]) -> dict[str, str]:
    """Return the titles of the parts that a page has, by their anchors."""
    cells = " and ".join(page["report"].data.grouped_by or ("corruption", "severity"))
    parts = {
        "every": "Every attack" if not page["corrupted"] else "Every attack and corruption",
        "effects": "Estimator or statistics source?", "groups": f"By {cells}",
        "samples": "Adversarial examples", "metrics": "Further metrics", "own": "Own metrics",
        "calibration": "Confidence and calibration", "shrinkage": "Shrinkage by layer",
    }  # fmt: skip
    contents = {**page, "own": page["own_metrics"], "samples": True}
    found = {slug: title for slug, title in parts.items() if contents[slug]}
    return {"results": "Results", **found, "checks": "Sanity checks", "provenance": "Provenance"}


def _groups(found: Sequence[Shot], report: Report) -> Iterator[dict[str, Any]]:
    names = {label: name for variant in report.variants for label, name in titles(variant.attacks).items()}
    for variant in dict.fromkeys(shot.variant for shot in found):
        pictured = [
            {
                "title": shot.title,
                "attack": names.get(shot.attack, shot.attack),
                "label": shot.label,
                "broken": shot.broken,
                "change": shot.change,
                "pictures": [(name, data_uri(picture)) for name, picture in shot.pictures],
            }
            for shot in found
            if shot.variant == variant
        ]
        yield {"variant": variant, "shots": pictured}


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
