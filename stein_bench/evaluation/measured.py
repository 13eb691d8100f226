"""A task whose outcomes come with the confidence of every prediction and the values of metrics that people bring."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stein_bench.errors import RunError
from stein_bench.preparation.metrics import OwnMetric
from stein_bench.report.metric_columns import column_name
from stein_bench.tasks import Task, finite_rows, is_single_logit, single_logit


class MeasuredTask:
    """Another task with more columns; loss and verdicts are the same.

    They are ``confidence`` unless the task is segmentation, and one for each value that the `metrics` give.

    Args:
        task: the other task.
        metrics: of the user's own.
        probabilities: whether outputs (n, K) are probabilities instead of logits.
    """

    def __init__(self, task: Task, metrics: Sequence[OwnMetric], *, probabilities: bool = False) -> None:
        self._task, self._metrics, self._probabilities = task, tuple(metrics), probabilities
        self._names: dict[OwnMetric, tuple[str, ...]] = {}
        self.name = task.name
        self.loss, self.correct, self.quality, self.check = task.loss, task.correct, task.quality, task.check

    def outcomes(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the task's columns and the further ones."""
        columns = self._task.outcomes(logits, labels)
        if self.name != "segmentation":
            columns["confidence"] = confidence(logits, probabilities=self._probabilities)
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


def measured(task: Task, metrics: Sequence[OwnMetric], *, probabilities: bool = False) -> Task:
    """Return `task` with the further columns, see `MeasuredTask`."""
    return MeasuredTask(task, metrics, probabilities=probabilities)


def confidence(logits: Tensor, *, probabilities: bool = False) -> Tensor:
    """Return the probability that the model gives to the class it predicts, float32 of shape (n,).

    It is in [0, 1], and NaN for samples whose outputs are not finite.

    Args:
        logits: (n, K), or of two classes (n,) or (n, 1).
        probabilities: whether outputs (n, K) are probabilities already: of the classes, or of each class by itself.
    """
    if is_single_logit(logits):
        found = single_logit(logits).float().abs().sigmoid()
    elif probabilities:
        found = logits.float().amax(dim=1).clamp(0, 1)  # rounding may take a softmax in half precision above 1
    else:
        found = logits.float().softmax(dim=1).amax(dim=1)
    return torch.where(finite_rows(logits), found, torch.nan)
