"""A dry run as a JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stein_bench.attacks.passes import Passes
from stein_bench.errors import visible_json
from stein_bench.evaluation.costs.results import DryRun, PhaseCost, Span, grand_total

VERSION = 1
"""Of the document."""


def dry_run_json(run: DryRun) -> str:
    """Return the document of one model."""
    return _text({"dry_run": VERSION, **_of_run(run)})


def sweep_json(runs: Mapping[str, DryRun | str]) -> str:
    """Return the document of a sweep: of each model what it costs, or why it cannot be evaluated."""
    models = [
        {"name": title, "failed": run} if isinstance(run, str) else {"name": title, **_of_run(run)}
        for title, run in runs.items()
    ]
    total = grand_total([run for run in runs.values() if isinstance(run, DryRun)])
    return _text({"dry_run": VERSION, "models": models, "total": _rounded(total)})


def _of_run(run: DryRun) -> dict[str, Any]:
    return {
        "model": run.model,
        "data": run.data,
        "samples": run.samples,
        "batch_size": run.batch_size,
        "batches": run.batches,
        "device": run.device,
        "phases": [_of_phase(phase, run) for phase in run.phases],
        "total": _rounded(run.total()),
        "processes": [{"processes": number, **_rounded(run.total(number))} for number in run.processes()],
        "peak_bytes": run.peak_bytes,
        "memory": run.memory,
        "notes": list(run.notes),
        "seconds_of_dry_run": round(run.seconds, 3),
    }


def _of_phase(phase: PhaseCost, run: DryRun) -> dict[str, Any]:
    limits = phase.bounds
    return {
        "variant": phase.variant or None,
        "phase": phase.phase,
        "kind": phase.kind,
        "passes": {
            "least": None if limits is None else _of_passes(limits.least),
            "most": None if limits is None else _of_passes(limits.most),
            "expected": _of_passes(phase.expected),
        },
        "samples_tried": phase.tried,
        **_rounded(phase.span(run.variation)),
        "at_least": phase.at_least,
        "parts": phase.parts,
        "peak_bytes": phase.peak_bytes,
    }


def _of_passes(passes: Passes | None) -> dict[str, float] | None:
    return None if passes is None else {name: round(value, 3) for name, value in passes._asdict().items()}


def _rounded(span: Span) -> dict[str, float]:
    return {name: round(value, 3) for name, value in span._asdict().items()}


def _text(document: dict[str, Any]) -> str:
    return visible_json(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"
