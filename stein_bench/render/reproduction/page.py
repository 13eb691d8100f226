"""The document of an experiment as one self-contained page; every text in it is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from stein_bench.render.figures import svg_text
from stein_bench.render.pages import page_environment, tidy
from stein_bench.render.report.drawings import figure_part
from stein_bench.render.reproduction.figures import (
    figure_of_contrasts,
    figure_of_means,
    headline_rows,
    told_contrasts,
    told_means,
)
from stein_bench.render.reproduction.registered import registered_sentences
from stein_bench.render.reproduction.table import alerts, heading, notes, registered_sheet, sheets, verdict
from stein_bench.reproduction.document import Reproduction
from stein_bench.reproduction.summary import ACCURACY, HEADLINE


def reproduction_page(document: Reproduction) -> str:
    """Return the document as an HTML page."""
    experiment = document.experiment
    text = (
        page_environment()
        .get_template("reproduction.html")
        .render(
            title=f"{experiment['name']}, {experiment['preset']} preset",
            heading=heading(document),
            alerts=alerts(document),
            sentence=verdict(document),
            notes=notes(document),
            registered=registered_sheet(document),
            sentences=registered_sentences(document),
            parts=[_part(document, name) for name in dict.fromkeys(row.part for row in document.rows)],
            command=document.run.command,
            provenance=list(_provenance(document)),
            cells=document.cells,
            experiment=json.dumps(experiment, indent=2, ensure_ascii=False),
        )
    )
    return tidy(text)


def _part(document: Reproduction, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "sheets": sheets(document, name),
        "figures": list(_figures(document, name)),
    }


def _figures(document: Reproduction, part: str) -> Iterator[dict[str, Any]]:
    what = HEADLINE.get(document.data.task, ACCURACY)
    rows = headline_rows(document, part, what)
    yield _drawn(
        figure_of_means(rows, what), f"{part}-means", f"Dot chart of {what} by BN. {told_means(rows)}.",
        "Mean over the seeds; bars are ± one standard deviation.",
    )  # fmt: skip
    contrasts = figure_of_contrasts(rows, what)
    if contrasts is not None:
        yield _drawn(
            contrasts, f"{part}-contrasts", f"Dot chart of differences from plain BN. {told_contrasts(rows)}.",
            "Effect of each estimator; an interval that includes the line shows no difference. Intervals are for each "
            "contrast alone, not adjusted for the number of contrasts.",
        )  # fmt: skip


def _drawn(figure: Figure, name: str, alt: str, caption: str) -> dict[str, Any]:
    return figure_part(svg_text(figure, name), alt, caption)


def _provenance(document: Reproduction) -> Iterator[tuple[str, str]]:
    run, where = document.run, document.run.environment
    yield "run", f"{run.id}, {run.created}; the last run took {run.wall_seconds:.0f} s"
    yield "model", f"{document.model}, {document.parameters:,} parameters"
    yield "data", f"{document.data.name}, {document.data.split}, SHA-256 {document.data.sha256}"
    yield "training data", f"SHA-256 {document.training_data_sha256}"
    yield "seeds", ", ".join(map(str, document.seeds))
    yield "machine", f"{where.platform}, {where.device}, {where.threads} threads, Python {where.python}"
    yield "packages", ", ".join(f"{name} {version}" for name, version in where.packages.items())
    yield "git commit", where.git_commit or "–"
