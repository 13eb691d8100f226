"""One call of a native attack: the batch, the budget and the checked parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stein_bench.attacks.active import Attempt, Batch, in_turn
from stein_bench.attacks.geometry import random_start
from stein_bench.attacks.losses import Model, ranked_targets
from stein_bench.specs import ParameterValue
from stein_bench.tasks import Task


@dataclass(frozen=True)
class Call:
    """One call of a native attack on one batch.

    Attributes:
        model: maps [0, 1] to logits, in eval mode with frozen parameters.
        inputs, labels: the batch, (n, C, …) and (n,).
        task: loss and success.
        classes: number of the model's outputs.
        norm, eps: the budget.
        params: all parameters of the attack.
        seeds: one per sample.
        batch_dependent: whether predictions depend on the batch (batch statistics).
    """

    model: Model
    inputs: Tensor
    labels: Tensor
    task: Task
    classes: int
    norm: str
    eps: float
    params: Mapping[str, ParameterValue]
    seeds: Sequence[int]
    batch_dependent: bool

    def whole(self, name: str) -> int:
        """Return an integer parameter."""
        return int(self.params[name])

    def number(self, name: str) -> float:
        """Return a numeric parameter."""
        return float(self.params[name])

    def batch(self, targets: Tensor | None = None) -> Batch:
        """Return the samples, with (n, T) target classes if the attack is targeted."""
        if targets is None:
            targets = torch.empty(len(self.inputs), 0, dtype=torch.long, device=self.inputs.device)
        return Batch(self.inputs, self.labels, self.seeds, targets)

    def start(self, batch: Batch, restart: int) -> Tensor:
        """Return a random start for each sample of `batch`."""
        start = random_start(batch.inputs.shape, batch.seeds, self.norm, self.eps, restart)
        return start.to(batch.inputs.device)

    def in_turn(self, batch: Batch, attempts: Sequence[Attempt]) -> Tensor:
        """Run the attempts one after another on the samples that are still correctly classified."""
        return in_turn(self.model, self.task, batch, attempts, batch_dependent=self.batch_dependent)

    @torch.no_grad()
    def aimed_batch(self, most: int) -> Batch:
        """Return the samples with at most `most` target classes each, the likeliest on the clean inputs first.

        This takes a forward pass.
        """
        return self.batch(ranked_targets(self.model(self.inputs), self.labels, most))
