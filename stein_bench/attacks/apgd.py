"""Auto-PGD: gradient ascent with momentum whose step size halves when progress stalls (Croce and Hein 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from stein_bench.attacks.geometry import direction, per_sample, project
from stein_bench.attacks.losses import Averaged, Loss, Model, averaged_gradient
from stein_bench.attacks.search import Batch, Rows, Search, Start, Step
from stein_bench.host import upload_indices
from stein_bench.tasks import Task

MOMENTUM = 0.75
"""Weight of the gradient step relative to the last move, α in equation (2) of the paper."""
RHO = 0.75
"""Share of steps that must raise the loss for a step size to be kept, ρ in condition 1 of the paper."""


def checkpoints(steps: int) -> list[int]:
    """Return the iterations after which the step size may be halved: ⌈p_j·steps⌉.

    p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06). Source: Croce and Hein (2020), section 3.

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    found, before, now = [], 0.0, 0.22
    while now <= 1:
        found.append(math.ceil(round(now * steps, 9)))
        before, now = now, now + max(now - before - 0.03, 0.06)
    return sorted(set(found))


@lru_cache(maxsize=64)
def _periods(steps: int, device: torch.device) -> Tensor:
    """Return the steps since the last checkpoint for each iteration that is one, else 0: (steps + 1,)."""
    marks = checkpoints(steps)
    periods = [0] * (steps + 1)
    for before, mark in zip([0, *marks], marks, strict=False):
        periods[mark] = mark - before
    return upload_indices(periods, device)


@dataclass(frozen=True)
class Ascent(Rows):
    """The state of auto-PGD; `number` counts the steps that a sample has behind it."""

    center: Tensor
    labels: Tensor
    targets: Tensor
    current: Tensor
    previous: Tensor
    gradient: Tensor
    losses: Tensor
    best: Tensor
    best_gradient: Tensor
    best_losses: Tensor
    step: Tensor
    rises: Tensor
    just_halved: Tensor
    losses_at_mark: Tensor
    number: Tensor


@dataclass(frozen=True)
class APGD(Search[Ascent]):
    """Auto-PGD, which needs no step size.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks" (2020), algorithm 1: the first step size is 2·eps; at a checkpoint a sample's step size
    is halved, and its search restarts from its best point, if fewer than ρ of the steps since the last checkpoint
    raised the loss, or if neither step size nor best loss changed since then.

    A sample stops at its first misclassified iterate; a sample without one gets its iterate of highest loss. Under
    batch statistics the batch stays whole, and the iterate with the most misclassified samples is returned.

    Attributes:
        task: defines success.
        loss: the loss to maximize.
        norm, eps: the ε-ball.
        iterations: number of moves of an attempt; each costs a forward and a backward pass, and the last point a
            forward pass.
        start: perturbations to start from.
        targeted: whether the loss has target classes. Then attempt number a is towards the target a modulo their
            number.
        attempts: number of attempts, over all starts and targets.
        batch_dependent: whether a prediction depends on the other samples of the batch.
        eot: draws of a random model at each point, over which gradient and loss are averaged, see `averaged_gradient`.
    """

    task: Task
    loss: Loss
    norm: str
    eps: float
    iterations: int
    start: Start
    targeted: bool = False
    attempts: int = 1
    batch_dependent: bool = False
    eot: int = 1
    counts_draws = True

    @property
    def steps(self) -> int:  # type: ignore[override]
        """One more than the moves: the last point is evaluated too."""
        return self.iterations + 1

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Ascent:
        """Start at the perturbations of `start`."""
        inputs = batch.inputs
        targets = batch.labels
        if self.targeted:
            column = upload_indices([number % batch.targets.shape[1] for number in attempts], inputs.device)
            targets = batch.targets.gather(1, column[:, None]).squeeze(1)
        current = project(inputs + self.start(batch, attempts), inputs, self.norm, self.eps)
        nothing = torch.full((len(inputs),), -torch.inf, device=inputs.device)
        none = torch.zeros(len(inputs), device=inputs.device)
        return Ascent(
            center=inputs, labels=batch.labels, targets=targets, current=current, previous=current, gradient=current,
            losses=nothing, best=current, best_gradient=current, best_losses=nothing, step=none + 2 * self.eps,
            rises=none, just_halved=none > 0, losses_at_mark=nothing, number=none.long(),
        )  # fmt: skip

    def advance(self, model: Model, rows: Ascent, numbers: Sequence[int]) -> Step[Ascent]:
        """Evaluate the current points, adapt step sizes at checkpoints, and move."""
        learned, seen = self._evaluate(model, rows, numbers)
        return Step(self._move(learned, numbers), rows.current, seen.broken, seen.wrong, seen.losses)

    def passes(self, number: int) -> tuple[int, int]:
        """Return one of each per draw, but no backward pass at the last point."""
        return self.eot, self.eot * int(number < self.iterations)

    def last(self, rows: Ascent) -> Tensor:
        """Return the points of highest loss."""
        return rows.best

    def whole(self, model: Model, batch: Batch, attempt: int) -> Tensor:
        """Return the iterate of the whole batch with the most misclassified samples, ties broken by the higher loss."""
        count = len(batch.inputs)
        rows = self.begin(batch, [attempt] * count)
        best = rows.current
        most = torch.full((), -1.0, device=best.device)
        highest = torch.full((), -torch.inf, device=best.device)
        for number in range(self.steps):
            learned, seen = self._evaluate(model, rows, [number] * count)
            wrong, loss = seen.broken.sum(), learned.losses.sum()
            better = (wrong > most) | ((wrong == most) & (loss > highest))
            best = torch.where(better, rows.current, best)
            most, highest = torch.where(better, wrong, most), torch.where(better, loss, highest)
            rows = self._move(learned, [number] * count)
        return best

    def _evaluate(self, model: Model, rows: Ascent, numbers: Sequence[int]) -> tuple[Ascent, Averaged]:
        """Record the model's outputs at the current points, which are returned too."""
        seen = averaged_gradient(
            model, rows.current, rows.labels, rows.targets, self.loss, self.task,
            eot=self.eot, batch_dependent=self.batch_dependent, backward=min(numbers) < self.iterations,
        )  # fmt: skip
        gradient, losses, first = seen.gradient, seen.losses.float(), rows.number == 0
        # A non-finite first loss counts as the lowest, so that any finite point becomes the best.
        better = (losses > rows.best_losses) | first
        best_losses = torch.where(losses > rows.best_losses, losses, rows.best_losses)
        learned = replace(
            rows,
            best=torch.where(per_sample(better, rows.best), rows.current, rows.best),
            best_gradient=torch.where(per_sample(better, gradient), gradient, rows.best_gradient),
            best_losses=best_losses,
            losses_at_mark=torch.where(first, best_losses, rows.losses_at_mark),
            rises=rows.rises + (~first & (losses > rows.losses)),
            gradient=gradient,
            losses=losses,
        )
        return learned, seen

    def _move(self, rows: Ascent, numbers: Sequence[int]) -> Ascent:
        """Step along the gradient and along the last move (equation (2) of the paper)."""
        marks = set(checkpoints(self.iterations))
        if any(number in marks for number in numbers):
            rows = self._adapt(rows)
        ahead = rows.current + per_sample(rows.step, rows.current) * direction(rows.gradient, self.norm)
        ahead = project(ahead, rows.center, self.norm, self.eps)
        momentum = per_sample(torch.where(rows.number == 0, 1.0, MOMENTUM), rows.current)
        mixed = rows.current + momentum * (ahead - rows.current) + (1 - momentum) * (rows.current - rows.previous)
        current = project(mixed, rows.center, self.norm, self.eps)
        return replace(rows, previous=rows.current, current=current, number=rows.number + 1)

    def _adapt(self, rows: Ascent) -> Ascent:
        """At a checkpoint, halve the step size and return to the best point if the last steps made no progress."""
        period = _periods(self.iterations, rows.device)[rows.number]
        marked = period > 0
        stuck = ~rows.just_halved & (rows.best_losses <= rows.losses_at_mark)
        halve = ((rows.rises < RHO * period) | stuck) & marked
        back = per_sample(halve, rows.current)
        return replace(
            rows,
            step=torch.where(halve, rows.step / 2, rows.step),
            current=torch.where(back, rows.best, rows.current),
            gradient=torch.where(back, rows.best_gradient, rows.gradient),
            losses=torch.where(halve, rows.best_losses, rows.losses),
            just_halved=torch.where(marked, halve, rows.just_halved),
            losses_at_mark=torch.where(marked, rows.best_losses, rows.losses_at_mark),
            rises=torch.where(marked, 0.0, rows.rises),
        )
