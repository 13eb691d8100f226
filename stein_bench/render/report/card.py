"""Results as the `model-index` of a Hugging Face model card, the metadata at the top of its README.

Source: https://huggingface.co/docs/hub/model-cards and modelcard.md of github.com/huggingface/hub-docs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from stein_bench.comparison.pairing import CLEAN, WORST_CASE, Subject, doubts, subjects
from stein_bench.errors import UsageError, one_line
from stein_bench.render.report.front_matter import INDEX, mapping_of, with_block
from stein_bench.report.document import Report
from stein_bench.report.results import AttackResult, ExpectedAccuracy, Figure, Metrics, headline, shown
from stein_bench.specs import format_eps

ACRONYMS = frozenset({"fgsm", "pgd", "mifgsm", "cw", "ddn", "fmn", "fab", "nes", "spsa", "pma", "mm"})
"""Attacks whose papers write their names in capitals."""
TASKS = {
    "classification": ("image-classification", "Image Classification"),
    "binary": ("image-classification", "Image Classification"),
    "segmentation": ("image-segmentation", "Image Segmentation"),
}
Interval = tuple[float, float] | None
MEASURES = {"segmentation": ("mean_iou", "mIoU")}
"""By task the metric's id and name, where it is not the accuracy."""


@dataclass(frozen=True)
class CardIndex:
    """What a card says of reports.

    Attributes:
        models: entries of `model-index`, by name of the model.
        left_out: a line for each result that cannot be trusted, and so is not in them, with the reason.
    """

    models: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...]


def card_index(reports: Sequence[Report]) -> CardIndex:
    """Return the entries for reports: one per model, with a result for each of its reports.

    A result is left out if it cannot be trusted: the attack failed or is invalid, a sanity check of it or of its
    variant failed (a collapsed clean accuracy among them), outputs are not finite.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    models: dict[str, list[dict[str, Any]]] = {}
    left_out: list[str] = []
    for report in reports:
        metrics = [metric for subject in subjects(report, "the report") for metric in _metrics(subject, left_out)]
        if metrics:
            models.setdefault(report.model.name, []).append(_result(report, metrics))
    entries = tuple(_shown({"name": name, "results": results}) for name, results in models.items())
    return CardIndex(entries, tuple(left_out))


def _shown(part: Any) -> Any:
    """Return a part of an entry with every text in it as `one_line` shows it."""
    if isinstance(part, dict):
        return {key: _shown(value) for key, value in part.items()}
    if isinstance(part, list):
        return list(map(_shown, part))
    return one_line(part) if isinstance(part, str) else part


def model_card(existing: str | None, models: Sequence[dict[str, Any]]) -> str:
    """Return the text of a card with these models in its `model-index`; every other character stays.

    Args:
        existing: the text of the card, None if there is none yet.
        models: entries; one of the same name is replaced, the others are kept.

    Raises:
        UsageError: the front matter is not YAML, or has another form than model cards do.
    """
    text = existing or ""
    present = mapping_of(text).get(INDEX) or []
    if not isinstance(present, list) or not all(isinstance(entry, dict) for entry in present):
        raise UsageError(f"its {INDEX} is not a list of models.")
    new = {entry["name"]: entry for entry in models}
    merged = [new.pop(str(entry.get("name")), entry) for entry in present]
    block = yaml.safe_dump({INDEX: [*merged, *new.values()]}, sort_keys=False, allow_unicode=True, width=10_000)
    return with_block(text, block)


def _result(report: Report, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    kind, name = TASKS[report.data.task]
    data = report.data
    return {
        "task": {"type": kind, "name": name},
        "dataset": {
            "name": data.name,
            "type": data.name,
            "split": data.split,
            "args": {"samples": data.samples, "sha256": data.sha256},
        },
        "metrics": metrics,
    }


def _metrics(subject: Subject, left_out: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the trustworthy metrics of a variant, and add what is left out to `left_out`."""
    variant, where = subject.variant, f"{subject.report.model.name}, {subject.name}"
    reasons = _reasons(subject)
    if CLEAN in reasons:  # robust means right on the clean input as well
        left_out.append(f"{where}: {reasons[CLEAN]}")
        return
    clean, worst = variant.clean, variant.worst_case_accuracy
    found: list[tuple[str, str, float | None, Interval, Metrics, ExpectedAccuracy | None]] = [
        (CLEAN, "", clean.accuracy, clean.ci95, clean.metrics, clean.expected_accuracy)
    ]
    for attack in variant.attacks:
        outcome = (attack.robust_accuracy, attack.ci95, attack.metrics, attack.expected_accuracy)
        found.append((attack.label, f" under {_title(attack)}", *outcome))
    if len(variant.attacks) > 1:
        outcome = (worst, variant.worst_case_ci95, variant.worst_case_metrics, variant.worst_case_expected_accuracy)
        found.append((WORST_CASE, f", worst case of {len(variant.attacks)} attacks", *outcome))
    for key, how, share, ci95, metrics, expected in found:
        if key in reasons:
            left_out.append(f"{where}, {key}: {reasons[key]}")
        elif share is not None:
            yield from _metric(subject, how, key, headline(share, ci95, metrics), expected)


def _metric(
    subject: Subject, how: str, outcome: str, own: Figure, expected: ExpectedAccuracy | None
) -> Iterator[dict[str, Any]]:
    kind, measure = MEASURES.get(subject.report.data.task, ("accuracy", "accuracy"))
    figure, variant = shown(own, expected), subject.variant
    if figure.value is None:
        return
    lead = "Clean" if outcome == CLEAN else "Robust"
    yield {
        "type": kind,
        "value": figure.value,
        "name": f"{lead} {measure if expected is None else f'expected {measure}'}{how}, {subject.name}",
        "args": {
            "outcome": outcome,
            "ci95": None if figure.ci95 is None else list(figure.ci95),
            "samples": subject.samples,
            "bn": variant.bn,
            "stats": variant.stats,
            "weights_sha256": variant.weights.sha256,
        },
    }


def _reasons(subject: Subject) -> dict[str, str]:
    """Return by outcome why it cannot be trusted; a failed check of a variant concerns all that is known of it."""
    found = doubts(subject)
    for check in subject.report.diagnostics:
        if check.status != "fail" or check.variant not in (None, subject.name):
            continue
        keys = [attack.label for attack in subject.variant.attacks if check.attack in (attack.name, attack.label)]
        for key in [*keys, WORST_CASE] if keys else [CLEAN]:
            found.setdefault(key, f"check {check.name} failed: {check.message}")
    return found


def _title(attack: AttackResult) -> str:
    """Return an attack with its budget and all parameters, since a robust accuracy means nothing without them."""
    name = attack.name.upper() if attack.name in ACRONYMS else attack.name
    params = {key: format_eps(value) if isinstance(value, float) else value for key, value in attack.params.items()}
    told = (f"{key} = {value}" for key, value in params.items())
    return ", ".join([name, f"{attack.norm} ε = {format_eps(attack.eps)}", *told])
