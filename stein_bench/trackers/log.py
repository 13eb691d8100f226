"""Logging a report to the trackers that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from stein_bench.errors import RunError, reason
from stein_bench.report.document import Report
from stein_bench.trackers.choice import Tracker
from stein_bench.trackers.quiet import silenced
from stein_bench.trackers.runs import TrackedRun, tracked_runs

Log = Callable[[Sequence[TrackedRun], Mapping[str, str]], str]
"""Logs the runs of a report under a tracker's options, and returns where."""


def _wandb(runs: Sequence[TrackedRun], options: Mapping[str, str]) -> str:
    from stein_bench.trackers.wandb_runs import log

    return log(runs, options)


def _mlflow(runs: Sequence[TrackedRun], options: Mapping[str, str]) -> str:
    from stein_bench.trackers.mlflow_runs import log

    return log(runs, options)


def _tensorboard(runs: Sequence[TrackedRun], options: Mapping[str, str]) -> str:
    from stein_bench.trackers.tensorboard_runs import log

    return log(runs, options)


LOGS: Mapping[str, Log] = MappingProxyType({"wandb": _wandb, "mlflow": _mlflow, "tensorboard": _tensorboard})
DEFAULTS: Mapping[str, str] = MappingProxyType({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"})
"""A server that is away is given up after seconds, not after minutes."""


def log_report(report: Report, tracker: Tracker) -> str:
    """Log a report, one run per variant, and return in a few words where.

    Raises:
        RunError: the tracker has failed, for whatever reason.
    """
    runs = tracked_runs(report)
    try:
        with silenced(DEFAULTS):
            return f"{tracker.name}, {LOGS[tracker.name](runs, tracker.options)}"
    except (Exception, SystemExit) as error:  # a library may raise whatever it likes
        raise RunError(f"--log {tracker.name} failed: {' '.join(reason(error).split())}") from error
