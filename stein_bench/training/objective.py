"""What training makes small, and what tells a better epoch from a worse one."""

from __future__ import annotations

import math

from torch import Tensor

from stein_bench.tasks import Task
from stein_bench.training.card import EpochRecord
from stein_bench.training.recipes import Recipe


def smoothed_loss(task: Task, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the task's loss of each sample or, of classes, its cross-entropy with smoothed targets.

    The target gives the label 1 - s and all K classes s/K each (Szegedy et al., "Rethinking the Inception
    architecture" (2016), section 7).
    """
    loss = task.loss(logits, labels)
    if smoothing == 0:
        return loss
    return (1 - smoothing) * loss - smoothing * logits.log_softmax(dim=1).mean(dim=1)


def merit(record: EpochRecord, recipe: Recipe) -> float:
    """Return the figure of a validated epoch that is larger for a better one, NaN counting as the worst."""
    robust = record.validation_robust_accuracy is not None
    if recipe.monitor == "accuracy":
        value = record.validation_robust_accuracy if robust else record.validation_accuracy
    else:
        loss = record.validation_robust_loss if robust else record.validation_loss
        value = None if loss is None else -loss
    return -math.inf if value is None or math.isnan(value) else value
