"""Searches: iterated attacks as steps on rows of state, one row per sample.

A step is a pure function of the rows, and every row has its own number of steps behind it. So samples can join and
leave a search at any step (`refill`), which keeps the batches that a GPU gets full, and no sample's result depends on
those that share its batches. Under batch statistics the samples do depend on each other: then the whole batch takes
all its steps together (`Search.whole`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from stein_bench.attacks.losses import Model
from stein_bench.host import upload_indices
from stein_bench.tasks import Task


@dataclass(frozen=True)
class Rows:
    """Tensors with one row per sample each."""

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        found: torch.device = getattr(self, fields(self)[0].name).device
        return found

    def select(self, index: Tensor) -> Self:
        """Return the samples at those positions."""
        return self._each(lambda tensor: tensor.index_select(0, index))

    def part(self, rows: slice) -> Self:
        """Return a range of samples, without copying them."""
        return self._each(lambda tensor: tensor[rows])

    def join(self, other: Self) -> Self:
        """Return these samples followed by `other`."""
        both = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        return replace(self, **{name: torch.cat(pair) for name, pair in both.items()})

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{field.name: change(getattr(self, field.name)) for field in fields(self)})


@dataclass(frozen=True)
class Batch:
    """Samples under attack.

    Attributes:
        inputs: (n, C, …) in [0, 1].
        labels: their true labels.
        seeds: one per sample.
        targets: target classes (n, T) of targeted attacks, else (n, 0).
    """

    inputs: Tensor
    labels: Tensor
    seeds: Sequence[int]
    targets: Tensor

    @classmethod
    def untargeted(cls, inputs: Tensor, labels: Tensor, seeds: Sequence[int]) -> Batch:
        """Return samples without target classes."""
        return cls(inputs, labels, seeds, torch.empty(len(inputs), 0, dtype=torch.long, device=inputs.device))

    def select(self, rows: Sequence[int]) -> Batch:
        """Return the samples at those positions."""
        if list(rows) == list(range(len(self.seeds))):
            return self
        index = upload_indices(rows, self.inputs.device)
        parts = (tensor.index_select(0, index) for tensor in (self.inputs, self.labels, self.targets))
        inputs, labels, targets = parts
        return Batch(inputs, labels, [self.seeds[row] for row in rows], targets)

    def join(self, other: Batch) -> Batch:
        """Return these samples followed by `other`."""
        return Batch(
            torch.cat([self.inputs, other.inputs]), torch.cat([self.labels, other.labels]),
            [*self.seeds, *other.seeds], torch.cat([self.targets, other.targets]),
        )  # fmt: skip


Start = Callable[[Batch, Sequence[int]], Tensor]
"""Maps samples and the number of each one's attempt to the perturbations from which the attempts start."""

R = TypeVar("R", bound=Rows)


class Step(NamedTuple, Generic[R]):
    """The result of one step.

    Attributes:
        rows: the state after the step.
        points: the points that the step evaluated, (n, C, …); in a search for the nearest adversarial point that.
        broken: which samples leave with their points because these are adversarial (or nothing better will come),
            boolean (n,); with several draws at each point, adversarial in half of them or more.
        wrong, losses: for random models, the share of draws in which each point is wrong, and the mean loss, which the
            search makes larger, float (n,); None if the search has no loss.
        inside: which points lie within eps, boolean (n,); None if all do. Only these can be `broken`.
    """

    rows: R
    points: Tensor
    broken: Tensor
    wrong: Tensor | None = None
    losses: Tensor | None = None
    inside: Tensor | None = None


class Search(ABC, Generic[R]):
    """One kind of search for adversarial inputs within the ε-ball and [0, 1], made in one or more attempts.

    Attributes:
        steps: number of steps of an attempt.
        attempts: number of attempts, each made on the samples that no earlier one broke.
        open_end: whether an attempt ends at a point that it has not evaluated. If other attempts follow, one more step
            evaluates it.
        sampled: whether it is made only on samples that `admits` draws at random.
        counts_draws: whether its steps give `Step.wrong`, so that on a random model a sample can settle.
    """

    steps: int
    attempts: int
    open_end: bool = False
    sampled: bool = False
    counts_draws: bool = False

    def admits(self, seed: int) -> bool:
        """Return whether it is made on the sample with that seed, which otherwise skips it."""
        return True

    def prefetch(self, batch: Batch) -> None:
        """Prepare for samples whose first attempt will begin soon."""

    @abstractmethod
    def begin(self, batch: Batch, attempts: Sequence[int]) -> R:
        """Return the state of samples before the first step; `attempts` are the numbers of their attempts, from 0."""

    @abstractmethod
    def advance(self, model: Model, rows: R, numbers: Sequence[int]) -> Step[R]:
        """Make one step; `numbers` are the steps that each sample has behind it in its attempt."""

    def passes(self, number: int) -> tuple[int, int]:
        """Return the forward and backward passes of the step with `number` steps behind it, per sample.

        In a batch of samples at different steps, a few more are computed, and not used.
        """
        return 1, 1

    def passes_of_whole(self) -> tuple[int, int]:
        """Return the forward and backward passes of `whole`, per sample."""
        each = [self.passes(number) for number in range(self.steps)]
        return sum(forward for forward, _ in each), sum(backward for _, backward in each)

    @abstractmethod
    def last(self, rows: R) -> Tensor:
        """Return the points at which attempts without success end, (n, C, …)."""

    def whole(self, model: Model, batch: Batch, attempt: int) -> Tensor:
        """Return the result of one attempt on samples whose predictions depend on each other.

        The batch takes all steps together, and its result is a batch that the model has seen or, at an open end, will
        see as a whole.
        """
        count = len(batch.inputs)
        rows = self.begin(batch, [attempt] * count)
        for number in range(self.steps):
            rows = self.advance(model, rows, [number] * count).rows
        return self.last(rows)


@torch.no_grad()
def still_right(model: Model, task: Task, points: Tensor, labels: Tensor) -> Tensor:
    """Return which predictions on `points` are correct, boolean of shape (n,)."""
    return task.correct(model(points), labels)


def whole_batch(model: Model, task: Task, searches: Sequence[Search[Any]], batch: Batch) -> Tensor:
    """Return the result of the attempt that breaks most samples, of all attempts of all `searches` in turn.

    For predictions that depend on the batch: points of different attempts would form a batch that the model never saw,
    so every attempt gets the whole batch and its result is kept or replaced as a whole. Attempts end once all samples
    are broken.
    """
    attempts = [(search, number) for search in searches for number in range(search.attempts)]
    if len(attempts) == 1:
        return searches[0].whole(model, batch, 0)
    best, fewest = batch.inputs, len(batch.inputs) + 1
    for search, number in attempts:
        points = search.whole(model, batch, number)
        surviving = int(still_right(model, task, points, batch.labels).sum())
        if surviving < fewest:
            best, fewest = points, surviving
        if fewest == 0:
            break
    return best
