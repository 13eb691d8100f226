"""Hostile names, and reports in which every text is one of them."""

from __future__ import annotations

import functools
import json
from typing import Any

from pydantic import ValidationError

from stein_bench.diagnostics.effects import with_effects
from stein_bench.report.document import BroughtPart, Report
from stein_bench.report.results import Calibration, Figure, SiteResult
from tests import reports
from tests.render.page_reports import cell
from tests.reports import bits, corruption, diagnostic, replaced

NAMES = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "script end": "</script><!-- </style></svg></title>\u2028",
    "url": "javascript:alert(1) https://evil.example www.evil.example",
    "markdown link": "[x](javascript:alert(1)) ![x](http://evil.example/x.png) <http://evil.example>",
    "markdown table": "a | b || `code` **bold** __bold__ ~~gone~~",
    "markdown heading": "# heading\n## heading\n\n- item\n1. item\n---\n> quote\n",
    "markdown list": "- item",
    "markdown number": "12. item",
    "markdown rule": "---",
    "markdown entity": "&lt;b&gt; &#60;i&#62; $x$ @team",
    "latex": r"\input{/etc/passwd} \write18{id} $x$ 50% a&b a_b ~ ^^5c # {",
    "latex argument": "[0.5ex] x",
    "latex star": "* x",
    "latex line": "x\n\\input{secret}\n%",
    "csv": "=1+1",
    "csv call": "@SUM(A1)",
    "csv plus": "+1+1",
    "csv minus": "-1+1",
    "csv tab": "\t=1+1",
    "csv return": '\r=cmd|" /C calc"!A0',
    "xml": "]]> \x00\x01\x0b\ufffe\uffff &amp; <!ENTITY x>",
    "surrogate": "half \ud800 and \udcff",
    "terminal": "\x1b[31mred\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\link\x9b31m",
    "direction": "abc\u202etxt.exe\u2066\u200f",
    "overwrite": "bad\r\x08\x08\x08good\x00\x7f",
    "invisible": "\u200b\u200d\ufeff\u2060\u00ad\u3164",
    "wide": "\uff37" * 40,
    "rich": "[red]red[/red] [link=http://evil.example]x[/link] :smile: [/]",
    "command": "::error::x",
    "command in a line": "x\n::set-output name=verdict::passed\n  ::stop-commands::x\n##[add-mask]x %0A::error::y",
    "format": "{} {0} {0.__class__} {x!r} %s %(x)s \\g<0> {{ x }} {% x %}",
}
HARMLESS = "harmless "

_FREE_KEYS = (
    "params",
    "packages",
    "devices",
    "config",
    "own_metrics",
    "robust",
    "corrupted_correct",
    "sites",
    "groups",
)
"""Parts whose keys are names as well."""


@functools.cache
def report_of(name: str) -> Report:
    """Return a report, as read from a file, in which every text that may be free begins with `name`."""
    return _hostile(_whole(), name)


def _hostile(report: Report, name: str) -> Report:
    document = json.loads(report.to_json())
    fixed: set[tuple[Any, ...]] = set()
    for _ in range(9):  # what the schema does not let be free stays as it was
        try:
            return Report.model_validate(_changed(document, name, fixed, ()))
        except ValidationError as error:
            fixed |= {_path(detail["loc"]) for detail in error.errors()}
    raise AssertionError(fixed)


def _path(location: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part for part in location if part != "[key]")


def _changed(part: Any, name: str, fixed: set[tuple[Any, ...]], path: tuple[Any, ...]) -> Any:
    if path in fixed:
        return part
    if isinstance(part, dict):
        return {
            _key(key, name, fixed, (*path, key)): _changed(value, name, fixed, (*path, key))
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [_changed(value, name, fixed, (*path, number)) for number, value in enumerate(part)]
    # Packed outcomes are data: changed, they would make the report a damaged one.
    return name + part if isinstance(part, str) and "outcomes" not in path else part


def _key(key: str, name: str, fixed: set[tuple[Any, ...]], path: tuple[Any, ...]) -> str:
    free = len(path) > 1 and path[-2] in _FREE_KEYS and path not in fixed
    return name + key if free and key not in ("std", "severity") else key


@functools.cache
def _whole() -> Report:
    """Return a report with as many kinds of texts as one can have."""
    figure = Figure(value=0.5, ci95=(0.4, 0.6))
    trusted = Calibration(
        predictions=200, accuracy=0.9, confidence=0.8, confidence_when_wrong=0.5, overconfidence=-0.1, ece=0.1,
        ece_if_calibrated=0.05,
    )  # fmt: skip
    sites = {"north": SiteResult(samples=100, accuracy=0.9, ci95=(0.8, 1.0), metrics={"auc": figure})}
    cells = [cell("sample", "running", 100), cell("stein", "running", 70), cell("sample", "batch", 60),
             cell("stein", "batch", 55)]  # fmt: skip
    cells = with_effects(cells, 10, "classification")
    first = cells[0]
    noise = corruption("noise-gaussian:std=0.1,seeds=1", bits(60, 200))
    failed = corruption("noise-uniform:std=0.1,seeds=1")
    attacks = [
        replaced(one, own_metrics={"brightness": figure}, calibration=trusted, params={"note": "loud", "steps": 3})
        for one in first.attacks
    ]
    cells[0] = replaced(
        first,
        clean=replaced(first.clean, own_metrics={"brightness": figure}, calibration=trusted, sites=sites),
        attacks=[*attacks, reports.attack("mifgsm")],
        worst_case_accuracy=None,
        worst_case_ci95=None,
        corruptions=[noise, failed],
    )
    checks = [diagnostic("pass", name="repeatable", variant="stein/running", message="the same"),
              diagnostic("warn", name="step-budget", message="alpha·steps is 1.5 times eps"),
              diagnostic("fail", name="batch-dependence", variant="stein/batch", message="4.0 % flip")]  # fmt: skip
    one = reports.report(
        *cells, diagnostics=checks, preset="published", config={"model": "resnet18", "attack": ["pgd"]}
    )
    part = BroughtPart(kind="attack", name="mine.py:wiggle", sha256="d" * 64, origin="acme 1.0, acme:wiggle")
    run = replaced(one.run, parts=[part], environment=replaced(one.run.environment, git_commit="abc"))
    return replaced(
        one, run=run, model=replaced(one.model, notes=["read as it is"]), data=replaced(one.data, notes=["2 skipped"])
    )


@functools.cache
def clean_runs(name: str) -> tuple[Report, Report]:
    """Return a report and its baseline that can be compared, with hostile texts, and with a regression between them."""
    before = reports.report(reports.variant(), reports.variant("stein"))
    after = reports.report(
        reports.variant(attacks={reports.FGSM: bits(60), reports.PGD: bits(53)}),
        reports.variant("stein", attacks={reports.FGSM: bits(20)}),
        diagnostics=[diagnostic(variant="stein/running")],
        number=1,
    )
    return _hostile(after, name), _hostile(before, name)
