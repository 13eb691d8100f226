"""A task whose outcomes come with the values of metrics that people bring."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from stein_bench.errors import RunError
from stein_bench.preparation.metrics import OwnMetric
from stein_bench.report.metric_columns import column_name
from stein_bench.tasks import Task


class MeasuredTask:
    """Another task, with a column for each value that the `metrics` give; loss and verdicts are the same."""

    def __init__(self, task: Task, metrics: Sequence[OwnMetric]) -> None:
        self._task, self._metrics = task, tuple(metrics)
        self._names: dict[OwnMetric, tuple[str, ...]] = {}
        self.name = task.name
        self.loss, self.correct, self.quality, self.check = task.loss, task.correct, task.quality, task.check

    def outcomes(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the task's columns and those of the metrics."""
        columns = self._task.outcomes(logits, labels)
        for metric in self._metrics:
            values = metric.values(logits, labels)
            names = self._names.setdefault(metric, tuple(values))
            if tuple(values) != names:
                raise RunError(
                    f"metric {metric.part.short} gives {', '.join(values)} for one batch and {', '.join(names)} for "
                    "another: its names must not change."
                )
            columns |= {column_name(name): value for name, value in values.items()}
        return columns


def measured(task: Task, metrics: Sequence[OwnMetric]) -> Task:
    """Return `task` with the metrics, or as it is without any."""
    return MeasuredTask(task, metrics) if metrics else task
