"""Auto-PGD: gradient ascent with momentum whose step size halves when progress stalls (Croce and Hein 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from stein_bench.attacks.active import Findings
from stein_bench.attacks.geometry import direction, per_sample, project
from stein_bench.attacks.losses import Loss, Model, loss_gradient
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


def apgd(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    *,
    loss: Loss,
    norm: str,
    eps: float,
    steps: int,
    start: Tensor,
    targets: Tensor | None = None,
    batch_dependent: bool = False,
) -> Tensor:
    """Return adversarial inputs found by auto-PGD, which needs no step size.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks" (2020), algorithm 1: the first step size is 2·eps; at a checkpoint a sample's step size
    is halved, and its search restarts from its best point, if fewer than ρ of the steps since the last checkpoint
    raised the loss, or if neither step size nor best loss changed since then.

    A sample stops at its first misclassified iterate; a sample without one gets its iterate of highest loss. Under
    batch statistics the batch stays whole, and the iterate with the most misclassified samples is returned.

    Args:
        model, inputs, labels, task: as in `pgd`.
        loss: the loss to maximize.
        norm, eps: the ε-ball.
        steps: number of steps; each costs a forward and a backward pass, and the last point a forward pass.
        start: perturbation to start from.
        targets: target class of each sample, for a targeted loss.
        batch_dependent: whether a prediction depends on the other samples of the batch.
    """
    search = _Search.begin(inputs, labels, labels if targets is None else targets, start, norm, eps)
    findings, whole = Findings(inputs, batch_dependent=batch_dependent), _BestBatch(search.current)
    marks, last_mark = checkpoints(steps), 0
    for number in range(steps + 1):
        gradient, logits, losses = loss_gradient(
            model,
            search.current,
            search.labels,
            search.targets,
            loss,
            batch_dependent=batch_dependent,
            backward=number < steps,
        )
        right = task.correct(logits, search.labels)
        if batch_dependent:
            whole.consider(search.current, right, losses)
        remaining = findings.drop_broken(search.current, right)
        if findings.done:
            return findings.adv_inputs
        search.learn(gradient, losses, first=number == 0)
        if remaining is not None:
            search.keep(remaining)
        if number in marks:
            search.adapt(number - last_mark)
            last_mark = number
        if number < steps:
            search.move(norm, eps, momentum=MOMENTUM if number else 1.0)
    return whole.points if batch_dependent else findings.finish(search.best)


class _BestBatch:
    """The whole batch with the most misclassified samples so far; ties are broken by the higher loss."""

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self._score = (-1, -math.inf)

    def consider(self, points: Tensor, right: Tensor, losses: Tensor) -> None:
        score = (int((~right).sum()), float(losses.sum()))
        if score > self._score:
            self.points, self._score = points, score


@dataclass
class _Search:
    """The search state of each active sample; every field has one row per sample."""

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

    @classmethod
    def begin(cls, inputs: Tensor, labels: Tensor, targets: Tensor, start: Tensor, norm: str, eps: float) -> _Search:
        current = project(inputs + start, inputs, norm, eps)
        nothing = torch.full((len(inputs),), -torch.inf, device=inputs.device)
        none = torch.zeros(len(inputs), device=inputs.device)
        return cls(
            center=inputs, labels=labels, targets=targets, current=current, previous=current, gradient=current,
            losses=nothing, best=current, best_gradient=current, best_losses=nothing, step=none + 2 * eps,
            rises=none, just_halved=none > 0, losses_at_mark=nothing,
        )  # fmt: skip

    def keep(self, index: Tensor) -> None:
        """Keep only the samples at those positions."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[index])

    def learn(self, gradient: Tensor, losses: Tensor, *, first: bool) -> None:
        """Record the model's outputs at the current points."""
        losses = losses.float()
        better = losses > self.best_losses
        self.best = torch.where(per_sample(better, self.best), self.current, self.best)
        self.best_gradient = torch.where(per_sample(better, gradient), gradient, self.best_gradient)
        self.best_losses = torch.where(better, losses, self.best_losses)
        if first:
            # A non-finite first loss counts as the lowest, so that any finite point becomes the best.
            self.best, self.best_gradient, self.losses_at_mark = self.current, gradient, self.best_losses
        else:
            self.rises = self.rises + (losses > self.losses)
        self.gradient, self.losses = gradient, losses

    def adapt(self, period: int) -> None:
        """Halve the step size and restart from the best point if the last `period` steps made no progress."""
        stuck = ~self.just_halved & (self.best_losses <= self.losses_at_mark)
        halve = (self.rises < RHO * period) | stuck
        self.step = torch.where(halve, self.step / 2, self.step)
        back = per_sample(halve, self.current)
        self.current = torch.where(back, self.best, self.current)
        self.gradient = torch.where(back, self.best_gradient, self.gradient)
        self.losses = torch.where(halve, self.best_losses, self.losses)
        self.just_halved, self.losses_at_mark = halve, self.best_losses
        self.rises = torch.zeros_like(self.rises)

    def move(self, norm: str, eps: float, *, momentum: float) -> None:
        """Step along the gradient and along the last move (equation (2) of the paper)."""
        ahead = self.current + per_sample(self.step, self.current) * direction(self.gradient, norm)
        ahead = project(ahead, self.center, norm, eps)
        mixed = self.current + momentum * (ahead - self.current) + (1 - momentum) * (self.current - self.previous)
        self.previous, self.current = self.current, project(mixed, self.center, norm, eps)
