"""What a native attack is run with: model, task, budget and checked parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stein_bench.attacks.losses import Model, mean_with, ranked_targets
from stein_bench.attacks.search import Batch
from stein_bench.attacks.starts import RandomStarts
from stein_bench.attacks.through import Strategy
from stein_bench.specs import ParameterValue
from stein_bench.tasks import Task


@dataclass(frozen=True)
class Call:
    """What a native attack is run with, apart from the samples.

    Attributes:
        model: maps [0, 1] to logits, in eval mode with frozen parameters.
        task: loss and success.
        classes: number of the model's outputs.
        shape: shape of one sample, (C, …).
        norm, eps: the budget.
        params: all parameters of the attack.
        batch_dependent: whether predictions depend on the batch (batch statistics).
        strategy: where the adaptive attack takes its gradients from.
        random: whether predictions are random: no single one of them then ends the work on a sample.
    """

    model: Model
    task: Task
    classes: int
    shape: Sequence[int]
    norm: str
    eps: float
    params: Mapping[str, ParameterValue]
    batch_dependent: bool
    strategy: Strategy | None = None
    random: bool = False

    @property
    def eot(self) -> int:
        """Draws of a random model over which gradients and scores are averaged; 1 unless the attack was given more."""
        return int(self.params.get("eot", 1))

    def whole(self, name: str) -> int:
        """Return an integer parameter."""
        return int(self.params[name])

    def number(self, name: str) -> float:
        """Return a numeric parameter."""
        return float(self.params[name])

    def starts(self) -> RandomStarts:
        """Return random starts within the budget."""
        return RandomStarts(self.norm, self.eps)

    @torch.no_grad()
    def targets(self, batch: Batch, part: slice, most: int) -> Tensor:
        """Return at most `most` target classes for each sample in that part of `batch`, (m, T).

        They are the likeliest classes on the clean inputs but the label's; this takes a forward pass per draw.
        """
        logits = None
        for number in range(self.eot):
            logits = mean_with(logits, self.model(batch.inputs[part]), number)
        assert logits is not None
        return ranked_targets(logits, batch.labels[part], most)

    def target_count(self, most: int) -> int:
        """Return how many target classes `targets` gives each sample."""
        return min(most, self.classes - 1)
