"""A report as runs of a tracker: one per variant, with parameters, numbers, and texts where there is no number."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stein_bench.comparison.pairing import variant_name
from stein_bench.errors import one_line
from stein_bench.report.attack_names import noise_strength, titles
from stein_bench.report.document import Diagnostic, Report
from stein_bench.report.results import Calibration, ExpectedAccuracy, Figure, Metrics, VariantResult
from stein_bench.specs import format_eps

LONGEST = 200
"""Bytes of a name of a folder; file systems take 255."""
Numbers = Iterator[tuple[str, float]]
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class TrackedRun:
    """One variant of a report.

    Attributes:
        name: model and variant, e.g. ``resnet18 stein/running``.
        group: the same for all variants of a report, and for no other report.
        params: what was evaluated and how, as text.
        metrics: ``group/name`` to a share in [0, 1]; ends of 95 % intervals are called ``… low`` and ``… high``.
        texts: by the name of a metric, why it has no number; by ``check/name``, what a failed check says; and under
            ``untrustworthy``, why not all results of the report can be trusted.
        report: the whole report as JSON.
    """

    name: str
    group: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    texts: Mapping[str, str]
    report: str

    @property
    def tags(self) -> tuple[str, ...]:
        """Short tags: failed checks by name, and whether the report has untrustworthy results."""
        failed = (f"failed {key}" for key in self.texts if key.startswith("check/"))
        return (*(["untrustworthy"] if "untrustworthy" in self.texts else []), *failed)


def tracked_runs(report: Report) -> list[TrackedRun]:
    """Return the runs of a report, one per variant in its order."""
    group, text = f"{report.model.name} on {report.data.name} {report.run.id[:8]}", report.to_json()
    return [
        TrackedRun(
            name=one_line(f"{report.model.name} {variant_name(variant)}"),
            group=one_line(group),
            params={one_line(key): one_line(value) for key, value in _params(report, variant).items()},
            metrics={one_line(key): value for key, value in _metrics(variant)},
            texts={one_line(key): one_line(value) for key, value in _texts(report, variant)},
            report=text,
        )
        for variant in report.variants
    ]


def slug(text: str) -> str:
    """Return a text as the name of a file or folder, on every system."""
    name = re.sub(r"[^\w.\-]+", "-", text).strip("-.") or "run"
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{name.encode()[: LONGEST - 11].decode(errors='ignore')}-{digest}"


def _params(report: Report, variant: VariantResult) -> dict[str, str]:
    run, data = report.run, report.data
    found = {
        "model": report.model.name,
        "bn": variant.bn,
        "stats": variant.stats,
        "control": variant.control,
        "conversion": variant.conversion,
        "weights": variant.weights.kind,
        "weights sha256": variant.weights.sha256,
        "data": data.name,
        "split": data.split,
        "task": data.task,
        "samples": data.samples,
        "data sha256": data.sha256,
        "seed": run.seed,
        "preset": run.preset,
        "report id": run.id,
        "created": run.created,
        "command": run.command,
        "config sha256": run.config_sha256,
        "device": run.environment.device,
        "precision": run.environment.precision,
        **{f"config.{key}": value for key, value in run.config.items()},
    }
    return {key: _text(value) for key, value in found.items() if value is not None}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metrics(variant: VariantResult) -> Numbers:
    clean, names = variant.clean, titles(variant.attacks)
    yield from _outcome("clean", "", clean.accuracy, clean.ci95, clean.metrics, clean.expected_accuracy)
    yield from _figures("clean", "", clean.own_metrics)
    yield from _calibration("clean", "", clean.calibration)
    for attack in variant.attacks:
        if attack.status == "ok":
            what = (attack.robust_accuracy, attack.ci95, attack.metrics, attack.expected_accuracy)
            yield from _outcome("robust", names[attack.label], *what)
            yield from _figures("attacked", names[attack.label], attack.own_metrics)
            yield from _calibration("attacked", names[attack.label], attack.calibration)
    if not _doubtful(variant):
        share, metrics = variant.worst_case_accuracy, variant.worst_case_metrics
        expected = variant.worst_case_expected_accuracy
        yield from _outcome("worst-case", "", share, variant.worst_case_ci95, metrics, expected)
        for budget in variant.budgets:
            title = f"{budget.norm} {format_eps(budget.eps)}"
            what = (budget.accuracy, budget.ci95, budget.metrics, budget.expected_accuracy)
            yield from _outcome("worst-case", title, *what)
    if (common := variant.common_corruptions) is not None:
        name = "miou" if "miou" in (clean.metrics or {}) else "accuracy"
        yield from _figures("corrupted", "mean", {name: Figure(value=common.accuracy, ci95=common.ci95)})
        if common.mce is not None:
            errors = {"mCE": common.mce.mce, "relative mCE": common.mce.relative_mce}
            yield from ((f"corrupted {name}", error) for name, error in errors.items() if error is not None)
    for corruption in variant.corruptions:
        if corruption.status == "ok":
            title = f"{corruption.name} {noise_strength(corruption.params)[1]}"
            yield from _outcome("corrupted", title, corruption.accuracy, corruption.ci95, corruption.metrics, None)
            yield from _figures("corrupted", title, corruption.own_metrics)
            yield from _calibration("corrupted", title, corruption.calibration)


def _outcome(
    kind: str, title: str, share: float | None, ci95: Interval, metrics: Metrics, expected: ExpectedAccuracy | None
) -> Numbers:
    """Yield the numbers of one outcome: accuracy, expected accuracy of a random model, and the task's metrics."""
    figures = {"accuracy": Figure(value=share, ci95=ci95), **(metrics or {})}
    if expected is not None:
        figures["expected accuracy"] = Figure(value=expected.value, ci95=expected.ci95)
    yield from _figures(kind, title, figures)


def _figures(kind: str, title: str, figures: Mapping[str, Figure] | None) -> Numbers:
    """Yield figures with their intervals, by name of the measure; those without a value are left out."""
    for measure, figure in (figures or {}).items():
        if figure.value is None:
            continue
        key = _key(kind, title, measure)
        yield key, figure.value
        if figure.ci95 is not None:
            yield from zip((f"{key} low", f"{key} high"), figure.ci95, strict=True)


def _calibration(kind: str, title: str, found: Calibration | None) -> Numbers:
    """Yield the figures of a calibration; with spaces in their names, which a metric of the user's own cannot have."""
    if found is not None:
        figures = {
            "mean confidence": found.confidence,
            "mean confidence when wrong": found.confidence_when_wrong,
            "calibration error": found.ece,
            "calibration error if calibrated": found.ece_if_calibrated,
        }
        yield from _figures(kind, title, {name: Figure(value=value, ci95=None) for name, value in figures.items()})


def _key(kind: str, title: str, measure: str = "accuracy") -> str:
    """Return the name of a metric; all attacks, and all of a measure, stand in one group of a tracker's pages."""
    return f"{kind} {measure}/{title}" if title else f"{kind}/{measure}"


def _doubtful(variant: VariantResult) -> list[str]:
    """Return the attacks without which there is no worst case, or with which it cannot be trusted."""
    names = titles(variant.attacks)
    return [names[attack.label] for attack in variant.attacks if attack.status in ("failed", "invalid")]


def _texts(report: Report, variant: VariantResult) -> Iterator[tuple[str, str]]:
    names = titles(variant.attacks)
    for attack in variant.attacks:
        if attack.status != "ok":
            yield _key("robust", names[attack.label]), f"{attack.status}: {attack.message}"
    if doubtful := _doubtful(variant):
        yield _key("worst-case", ""), f"no number: {', '.join(doubtful)}"
    for corruption in variant.corruptions:
        if corruption.status != "ok":
            title = f"{corruption.name} {noise_strength(corruption.params)[1]}"
            yield _key("corrupted", title), f"{corruption.status}: {corruption.message}"
    for check in report.diagnostics:
        if check.status == "fail" and check.variant in (None, variant_name(variant)):
            yield f"check/{_check_name(check)}", check.message
    if lines := report.dishonest():
        yield "untrustworthy", "; ".join(lines)


def _check_name(check: Diagnostic) -> str:
    return check.name if check.attack is None else f"{check.name} {check.attack}"
