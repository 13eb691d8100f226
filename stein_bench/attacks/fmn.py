"""The fast minimum-norm attack: gradient steps in an ε-ball whose radius follows the distance to the boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks.geometry import TINY, direction, length, per_sample
from stein_bench.attacks.losses import Model, loss_gradient, margin
from stein_bench.attacks.nearest import Nearest, NearestSearch, annealed, clearly_wrong, farthest, nothing_found
from stein_bench.attacks.search import Batch, Step
from stein_bench.tasks import Task

FIRST_STEP, LAST_STEP = 1.0, 0.01
"""Lengths of steps in L2, α of the paper, annealed along half a cosine."""
FIRST_GAMMA, LAST_GAMMA = 0.05, 0.001
"""By how much the radius changes per step, γ of the paper, annealed in the same way."""


@dataclass(frozen=True)
class Ball(Nearest):
    """The state of FMN: also the points to evaluate next, the radii of their balls, and the steps made."""

    current: Tensor
    radius: Tensor
    limit: Tensor
    number: Tensor


@dataclass(frozen=True)
class FMN(NearestSearch[Ball]):
    """The nearest adversarial point in Linf or L2, by normalized gradient steps on the margin and projections.

    Until a sample has an adversarial point, its radius is the distance of the linearized boundary, here times 1 + γ: on
    the linearized boundary itself, rounding would decide, and never less than 1 + γ times the radius before: inside
    [0, 1] the boundary may be farther. Then it shrinks while the point is adversarial and grows otherwise.
    Source: Pintor et al., "Fast minimum-norm adversarial attacks through adaptive norm constraints" (2021),
    algorithm 1, from the clean inputs, with that paper's step sizes.

    Attributes:
        task, norm, batch_dependent: as for `PGD`.
        steps: number of steps, each a forward and a backward pass.
    """

    task: Task
    norm: str
    steps: int
    attempts: int = 1
    batch_dependent: bool = False

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Ball:
        """Start at the clean inputs."""
        nothing = torch.zeros(len(batch.inputs), device=batch.inputs.device)
        return Ball(
            **nothing_found(batch), current=batch.inputs, radius=nothing, number=nothing,
            limit=farthest(batch.inputs, self.norm),
        )  # fmt: skip

    def advance(self, model: Model, rows: Ball, numbers: Sequence[int]) -> Step[Ball]:
        """Evaluate the current points, change the radii, step along the gradient and project."""
        gradient, logits, losses = loss_gradient(
            model, rows.current, rows.labels, rows.labels, _lost_margin, batch_dependent=self.batch_dependent
        )
        wrong = clearly_wrong(self.task, logits, rows.labels)
        radius = self._radius(rows, gradient, -losses, wrong)
        rows = rows.seen(rows.current, wrong, self.norm)
        radius = torch.minimum(radius, torch.minimum(rows.limit, rows.distance))
        step = annealed(FIRST_STEP, LAST_STEP, rows.number, self.steps)
        ahead = rows.current + per_sample(step, gradient) * direction(gradient, "L2")
        moved = replace(
            rows, current=_within(ahead, rows.center, self.norm, radius), radius=radius, number=rows.number + 1
        )
        return self.step(moved, moved.done)

    def _radius(self, rows: Ball, gradient: Tensor, gap: Tensor, wrong: Tensor) -> Tensor:
        """Return the next radii; `gap` is how far, in the margin, points that are not `wrong` are from the boundary."""
        gamma = annealed(FIRST_GAMMA, LAST_GAMMA, rows.number, self.steps)
        away = length(rows.current - rows.center, self.norm)
        slope = gradient.flatten(1).norm(dim=1, p=1 if self.norm == "Linf" else 2)
        estimated = (1 + gamma) * (away + gap.clamp_min(0) / slope.clamp_min(TINY))
        grown = (1 + gamma) * rows.radius
        outwards = torch.where(rows.found, grown, torch.maximum(estimated, grown))
        return torch.where(wrong, rows.radius * (1 - gamma), outwards)


def _lost_margin(logits: Tensor, labels: Tensor, _targets: Tensor) -> Tensor:
    return -margin(logits, labels)


def _within(points: Tensor, center: Tensor, norm: str, radius: Tensor) -> Tensor:
    """Project `points` onto balls of different radii, (n,), then clip to [0, 1]."""
    delta, limit = points - center, per_sample(radius, points)
    if norm == "Linf":
        return (center + torch.minimum(torch.maximum(delta, -limit), limit)).clamp(0, 1)
    scale = (radius / length(delta, norm).clamp_min(TINY)).clamp_max(1.0)
    return (center + delta * per_sample(scale, delta)).clamp(0, 1)
