"""Runs of Weights & Biases. Without ``mode=online`` or WANDB_MODE nothing leaves the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from stein_bench.trackers.runs import TrackedRun

LONGEST_TAG = 64

QUIET: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "login_timeout": 30,
}
"""The run has what the report has: no console, code, machine or package list, which the report describes itself."""


def log(runs: Sequence[TrackedRun], options: Mapping[str, str]) -> str:
    """Log the runs and return where.

    Args:
        runs: of one report.
        options: ``project``, ``entity``, ``mode`` (offline or online), ``dir`` (the folder that gets ``wandb/``).
    """
    mode = options.get("mode") or os.environ.get("WANDB_MODE") or "offline"
    places = [_log(run, options, mode) for run in runs]
    if mode == "disabled":
        return "disabled by WANDB_MODE: nothing was logged"
    where = " ".join(places)
    if mode == "online":
        return where
    told = where if len(places) == 1 else f"{len(places)} folders of {Path(places[0]).parent}"
    return f"{mode}, in {told}: send with wandb sync {where}"


def _log(run: TrackedRun, options: Mapping[str, str], mode: str) -> str:
    """Log one run and return its address, or the folder that holds it."""
    if folder := options.get("dir"):
        Path(folder).mkdir(parents=True, exist_ok=True)  # wandb would silently use another
    known = wandb.Settings.model_fields  # versions differ in them
    project = options.get("project") or (None if os.environ.get("WANDB_PROJECT") else "stein-bench")
    start: Any = wandb.init
    tracked = start(
        project=project,
        entity=options.get("entity"),
        name=run.name,
        group=run.group,
        mode=mode,
        dir=folder,
        config=dict(run.params),
        tags=[tag[:LONGEST_TAG] for tag in run.tags],
        settings=wandb.Settings(**{key: value for key, value in QUIET.items() if key in known}),
        reinit="create_new",
    )
    try:
        tracked.log(dict(run.metrics))
        tracked.summary.update(dict(run.texts))
        file = Path(tracked.dir) / "report.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(run.report, encoding="utf-8")
        tracked.save(str(file), base_path=tracked.dir, policy="end")
    finally:
        tracked.finish()
    return str(tracked.url) if mode == "online" else _short(Path(tracked.dir).parent)


def _short(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
