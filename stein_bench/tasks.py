"""What a task's outputs mean: its loss, when a prediction is right, and which outputs fit its labels."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from stein_bench.errors import UsageError


class Task(Protocol):
    """Loss and success of one kind of task, per sample."""

    name: str

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each sample, shape (n,); an attack makes it larger."""
        ...

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether each sample is right, boolean of shape (n,)."""
        ...

    def check(self, logits: Tensor, samples: int, classes: int) -> None:
        """Raise a `UsageError` if the outputs do not fit `samples` samples with labels below `classes`."""
        ...


class Classification:
    """One class per sample: logits (n, K), labels (n,) in [0, K). Ties go to the lowest class index."""

    name = "classification"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of each sample in nats, shape (n,)."""
        return F.cross_entropy(logits, labels, reduction="none")

    def correct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return whether the largest logit is the label's."""
        return logits.argmax(dim=1) == labels

    def check(self, logits: Tensor, samples: int, classes: int) -> None:
        """Raise a `UsageError` unless logits are (samples, K) with K of at least `classes` (and 2)."""
        shape = tuple(logits.shape)
        if logits.ndim != 2 or shape[0] != samples:
            raise UsageError(f"the model returns shape {shape} for {samples} samples; expected ({samples}, classes).")
        if shape[1] < max(2, classes):
            raise UsageError(f"the model has {shape[1]} outputs, but the data has labels up to {classes - 1}.")


TASKS: dict[str, Task] = {"classification": Classification()}
