"""Work on the samples that are still correctly classified: batches that shrink, and attempts that follow one another.

Where samples are independent (running statistics), a broken sample needs no further work, and leaving it out changes
no other's verdict. Where batch statistics couple them, iterates of different times or of different attempts do not
make a batch that was ever seen: there a batch is kept or replaced whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stein_bench.attacks.losses import Model
from stein_bench.tasks import Task


@dataclass(frozen=True)
class Batch:
    """Samples under attack.

    Attributes:
        inputs: (n, C, …) in [0, 1].
        labels: their true labels.
        seeds: one per sample.
        targets: target classes (n, T) for attacks that aim at them, else empty.
    """

    inputs: Tensor
    labels: Tensor
    seeds: Sequence[int]
    targets: Tensor

    def select(self, index: Tensor) -> Batch:
        """Return the samples at those positions."""
        seeds = [self.seeds[i] for i in index.tolist()]
        return Batch(self.inputs[index], self.labels[index], seeds, self.targets[index])


Attempt = Callable[[Batch], Tensor]
"""From samples to candidate adversarial inputs, within budget and box."""


class Findings:
    """The adversarial inputs of a batch while its active set shrinks.

    Args:
        inputs: the point returned for a sample until an adversarial input is found.
        batch_dependent: whether a prediction depends on the other samples; then nothing leaves the active set.
    """

    def __init__(self, inputs: Tensor, *, batch_dependent: bool) -> None:
        self.adv_inputs = inputs.clone()
        self.index = torch.arange(len(inputs), device=inputs.device)
        self._batch_dependent = batch_dependent

    @property
    def done(self) -> bool:
        """Whether no sample is left to work on."""
        return len(self.index) == 0

    def settle(self, points: Tensor, right: Tensor) -> Tensor | None:
        """Keep the `points` of active samples that are no longer `right`, and end the work on them.

        Returns:
            Positions within the active set that remain in it; None where all of them do.
        """
        if self._batch_dependent or bool(right.all()):
            return None
        wrong = ~right
        self.adv_inputs[self.index[wrong]] = points[wrong]
        remaining = right.nonzero().squeeze(1)
        self.index = self.index[remaining]
        return remaining

    def close(self, points: Tensor) -> Tensor:
        """Take `points` for the samples still active; return all adversarial inputs."""
        self.adv_inputs[self.index] = points
        return self.adv_inputs


def in_turn(model: Model, task: Task, batch: Batch, attempts: Sequence[Attempt], *, batch_dependent: bool) -> Tensor:
    """Make the attempts one after another, each on the samples that survived those before; return what was found.

    A sample that survives all of them gets the last one's points. The last attempt's points are not predicted
    here: whoever asked for them does that anyway. Under batch statistics, every attempt gets the whole batch,
    and the one that breaks most of it is returned whole (none follows one that breaks all of it).
    """
    if batch_dependent:
        return _most_broken(model, task, batch, attempts)
    findings, left = Findings(batch.inputs, batch_dependent=False), batch
    for attempt in attempts[:-1]:
        points = attempt(left)
        remaining = findings.settle(points, still_right(model, task, points, left.labels))
        if findings.done:
            return findings.adv_inputs
        left = left if remaining is None else left.select(remaining)
    return findings.close(attempts[-1](left))


@torch.no_grad()
def still_right(model: Model, task: Task, points: Tensor, labels: Tensor) -> Tensor:
    """Return which predictions on `points` are right, boolean of shape (n,)."""
    return task.correct(model(points), labels)


def _most_broken(model: Model, task: Task, batch: Batch, attempts: Sequence[Attempt]) -> Tensor:
    if len(attempts) == 1:
        return attempts[0](batch)
    best, fewest = batch.inputs, len(batch.inputs) + 1
    for attempt in attempts:
        points = attempt(batch)
        standing = int(still_right(model, task, points, batch.labels).sum())
        if standing < fewest:
            best, fewest = points, standing
        if fewest == 0:
            break
    return best
