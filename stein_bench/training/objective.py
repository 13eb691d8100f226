"""The training loss, and the criterion for the best epoch."""

from __future__ import annotations

import math

from torch import Tensor

from stein_bench.tasks import Task
from stein_bench.training.card import EpochRecord
from stein_bench.training.recipes import Recipe


def smoothed_loss(task: Task, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the task's loss per sample, with label smoothing for classification.

    The target is 1 - s at the label plus s/K at each of the K classes (Szegedy et al., "Rethinking the Inception
    architecture" (2016), section 7).
    """
    loss = task.loss(logits, labels)
    if smoothing == 0:
        return loss
    return (1 - smoothing) * loss - smoothing * logits.log_softmax(dim=1).mean(dim=1)


def merit(record: EpochRecord, recipe: Recipe) -> float:
    """Return the monitored value of a validated epoch, larger for better epochs; NaN counts as the worst."""
    robust = record.validation_robust_accuracy is not None
    if recipe.monitor == "accuracy":
        value = record.validation_robust_accuracy if robust else record.validation_accuracy
    else:
        loss = record.validation_robust_loss if robust else record.validation_loss
        value = None if loss is None else -loss
    return -math.inf if value is None or math.isnan(value) else value
