"""The active set of an attack: only samples that are still correctly classified are attacked further.

If samples are independent (running statistics), a broken sample is dropped, which changes no other verdict. Under batch
statistics, iterates from different steps or attempts would form a batch that the model never saw, so a batch is kept or
replaced as a whole.
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
        targets: target classes (n, T) of targeted attacks, else empty.
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
"""Maps samples to candidate adversarial inputs within the ε-ball and [0, 1]."""


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
        """Whether no active sample is left."""
        return len(self.index) == 0

    def drop_broken(self, points: Tensor, right: Tensor) -> Tensor | None:
        """Keep the `points` of active samples that are no longer `right`, and drop these samples.

        Returns:
            Positions within the active set that remain in it; None if all do.
        """
        if self._batch_dependent or bool(right.all()):
            return None
        wrong = ~right
        self.adv_inputs[self.index[wrong]] = points[wrong]
        remaining = right.nonzero().squeeze(1)
        self.index = self.index[remaining]
        return remaining

    def finish(self, points: Tensor) -> Tensor:
        """Use `points` for the samples still active and return all adversarial inputs."""
        self.adv_inputs[self.index] = points
        return self.adv_inputs


def in_turn(model: Model, task: Task, batch: Batch, attempts: Sequence[Attempt], *, batch_dependent: bool) -> Tensor:
    """Run the attempts one after another, each on the samples that survived so far, and return the adversarial inputs.

    A sample that survives all attempts gets the points of the last one, which are not predicted here because the caller
    verifies them. Under batch statistics every attempt gets the whole batch, and the result of the attempt that breaks
    most samples is returned whole (stopping early once all are broken).
    """
    if batch_dependent:
        return _most_broken(model, task, batch, attempts)
    findings, left = Findings(batch.inputs, batch_dependent=False), batch
    for attempt in attempts[:-1]:
        points = attempt(left)
        remaining = findings.drop_broken(points, still_right(model, task, points, left.labels))
        if findings.done:
            return findings.adv_inputs
        left = left if remaining is None else left.select(remaining)
    return findings.finish(attempts[-1](left))


@torch.no_grad()
def still_right(model: Model, task: Task, points: Tensor, labels: Tensor) -> Tensor:
    """Return which predictions on `points` are correct, boolean of shape (n,)."""
    return task.correct(model(points), labels)


def _most_broken(model: Model, task: Task, batch: Batch, attempts: Sequence[Attempt]) -> Tensor:
    if len(attempts) == 1:
        return attempts[0](batch)
    best, fewest = batch.inputs, len(batch.inputs) + 1
    for attempt in attempts:
        points = attempt(batch)
        surviving = int(still_right(model, task, points, batch.labels).sum())
        if surviving < fewest:
            best, fewest = points, surviving
        if fewest == 0:
            break
    return best
