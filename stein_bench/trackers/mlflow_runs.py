"""Runs of mlflow. Without ``uri=`` or MLFLOW_TRACKING_URI they are kept in the folder ``mlruns``."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stein_bench.trackers.runs import TrackedRun

LONGEST = 500
"""Characters of a parameter's or tag's value, the fewest that any store of mlflow takes."""
LONGEST_KEY = 100
"""Characters of each of the two parts of a key, of at most 250."""
AT_ONCE = 100
"""Parameters or tags in a request, the most that mlflow takes; metrics alike."""


def log(runs: Sequence[TrackedRun], options: Mapping[str, str]) -> str:
    """Log the runs and return where.

    Args:
        runs: of one report.
        options: ``uri`` of the server or store, and ``experiment``, by default ``stein-bench``.
    """
    given = options.get("uri") or os.environ.get("MLFLOW_TRACKING_URI")
    uri = given or Path("mlruns").resolve().as_uri()
    if _is_folder(uri):
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # mlflow 3 wants folders to be asked for
    from mlflow import MlflowClient  # reads the environment when it is imported

    client: Any = MlflowClient(tracking_uri=uri)
    name = options.get("experiment") or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "stein-bench"
    experiment = client.get_experiment_by_name(name)
    number = client.create_experiment(name) if experiment is None else experiment.experiment_id
    for run in runs:
        _log(client, number, run)
    return f"experiment {name} in {given or 'mlruns'}"


def _is_folder(uri: str) -> bool:
    return uri.startswith("file:") or not re.match(r"[A-Za-z][\w+.\-]+:|databricks", uri)


def _log(client: Any, experiment: str, run: TrackedRun) -> None:
    from mlflow.entities import Metric, Param, RunTag

    made = client.create_run(experiment, run_name=run.name).info.run_id
    status = "FAILED"
    try:
        now = int(1000 * time.time())
        names, named = _names([*run.metrics, *run.texts]), _names(run.params)
        tags = {"group": run.group, **{names[key]: text for key, text in run.texts.items()}}
        if run.tags:
            tags["failed"] = ", ".join(run.tags)
        for metrics in _parts([Metric(names[key], value, now, 0) for key, value in run.metrics.items()]):
            client.log_batch(made, metrics=metrics)
        for params in _parts([Param(named[key], _cut(value)) for key, value in run.params.items()]):
            client.log_batch(made, params=params)
        for some in _parts([RunTag(key, _cut(value)) for key, value in tags.items()]):
            client.log_batch(made, tags=some)
        client.log_text(made, run.report, "report.json")
        status = "FINISHED"
    finally:
        client.set_terminated(made, status)


def _names(keys: Iterable[str]) -> dict[str, str]:
    """Return mlflow's name of each key, distinct: it takes letters, digits and few signs, and reads / as a folder."""
    found: dict[str, str] = {}
    uses: Counter[str] = Counter()
    for key in keys:
        group, slash, name = key.partition("/")
        plain = f"{_plain(group)}/{_plain(name)}" if slash else _plain(group)
        uses[plain] += 1
        found[key] = plain if uses[plain] == 1 else f"{plain} {uses[plain]}"
    return found


def _plain(text: str) -> str:
    """Return a part of a key: mlflow refuses what would be a path to another folder."""
    return re.sub(r"[^\w.\- ]|^\.+", "_", text)[:LONGEST_KEY] or "_"


def _parts(items: Sequence[Any]) -> Iterator[list[Any]]:
    yield from (list(items[first : first + AT_ONCE]) for first in range(0, len(items), AT_ONCE))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
