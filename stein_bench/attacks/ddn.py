"""Decoupled direction and norm: the attack follows the gradient on a sphere that shrinks while it is adversarial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks.geometry import TINY, direction, length, per_sample
from stein_bench.attacks.gradient import input_gradient
from stein_bench.attacks.losses import Model
from stein_bench.attacks.nearest import Nearest, NearestSearch, annealed, clearly_wrong, farthest, nothing_found
from stein_bench.attacks.search import Batch, Step
from stein_bench.attacks.starts import RandomStarts
from stein_bench.tasks import Task

FIRST_RADIUS = 1.0
FIRST_STEP, LAST_STEP = 1.0, 0.01
"""Step sizes, annealed along half a cosine."""


@dataclass(frozen=True)
class Sphere(Nearest):
    """The state of DDN: also the points to evaluate next, the radii, steps made, and directions for flat gradients."""

    current: Tensor
    radius: Tensor
    limit: Tensor
    number: Tensor
    chance: Tensor


@dataclass(frozen=True)
class DDN(NearestSearch[Sphere]):
    """The nearest adversarial point in L2, by steps along the gradient of the loss and a radius of its own.

    Source: Rony et al., "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks and
    defenses" (2019), algorithm 1, with the annealed step size of section 4. The radius grows by `gamma` while the point
    is classified correctly and shrinks by it otherwise. Points are not rounded to 8 bits. Where the gradient is exactly
    zero, the step is in a random direction of the sample's own.

    Attributes:
        task, batch_dependent: as for `PGD`.
        steps: number of steps, each a forward and a backward pass.
        gamma: by how much the radius changes per step, in (0, 1).
    """

    task: Task
    steps: int
    gamma: float
    attempts: int = 1
    batch_dependent: bool = False

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Sphere:
        """Start at the clean inputs."""
        count, device = len(batch.inputs), batch.inputs.device
        return Sphere(
            **nothing_found(batch), current=batch.inputs, limit=farthest(batch.inputs, "L2"),
            radius=torch.full((count,), FIRST_RADIUS, device=device), number=torch.zeros(count, device=device),
            chance=direction(RandomStarts("L2", 1.0)(batch, attempts), "L2"),
        )  # fmt: skip

    def advance(self, model: Model, rows: Sphere, numbers: Sequence[int]) -> Step[Sphere]:
        """Evaluate the current points, change the radii, step along the gradient and scale to the radii."""
        gradient, logits = input_gradient(
            model, rows.current, rows.labels, self.task, batch_dependent=self.batch_dependent
        )
        wrong = clearly_wrong(self.task, logits, rows.labels)
        rows = rows.seen(rows.current, wrong, "L2")
        grown = rows.radius * torch.where(wrong, 1 - self.gamma, 1 + self.gamma)
        radius = torch.minimum(grown, rows.limit)
        flat = per_sample(length(gradient, "L2") == 0, gradient)
        step = annealed(FIRST_STEP, LAST_STEP, rows.number, self.steps)
        towards = torch.where(flat, rows.chance, direction(gradient, "L2"))
        moved = rows.current - rows.center + per_sample(step, towards) * towards
        scaled = moved * per_sample(radius / length(moved, "L2").clamp_min(TINY), moved)
        rows = replace(rows, current=(rows.center + scaled).clamp(0, 1), radius=radius, number=rows.number + 1)
        return self.step(rows, rows.done)
