"""The targeted fast adaptive boundary attack: steps to the linearized boundary, pulled back towards the clean input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks.geometry import TINY, length, per_sample, project
from stein_bench.attacks.losses import Model, loss_gradient, targeted_margin
from stein_bench.attacks.search import Batch, Rows, Search, Step, still_right
from stein_bench.host import upload_indices
from stein_bench.tasks import Task

LARGEST_BIAS = 0.1
"""Largest weight of the step from the clean input, α_max of the paper."""
OVERSHOOT = 1.05
"""Extrapolation beyond the linearized boundary, η of the paper."""
BACKWARD = 0.9
"""How much of the perturbation a point beyond the boundary keeps for the next step, β of the paper."""
ENDLESS = 1e9
"""A breakpoint that no perturbation within [0, 1] reaches."""


@dataclass(frozen=True)
class Approach(Rows):
    """The state of FAB: clean inputs, labels, target classes, and the points to linearize at next."""

    center: Tensor
    labels: Tensor
    targets: Tensor
    current: Tensor


@dataclass(frozen=True)
class FAB(Search[Approach]):
    """FAB within a budget: adversarial inputs found on the way to the nearest point of the boundary to a target class.

    Source: Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack"
    (2020), algorithm 1, with the boundary to one target class as in AutoAttack's FAB-T. The attack minimizes the
    norm; here it stops on a sample as soon as a misclassified point lies within eps, and returns the clean input
    if none does. It starts at the clean input and is deterministic.

    Attributes:
        task, norm, eps, batch_dependent: as for `PGD`.
        steps: number of steps of an attempt; each costs two forward passes and a backward pass.
        attempts: number of target classes; attempt number a is towards the target a.
    """

    task: Task
    norm: str
    eps: float
    steps: int
    attempts: int = 1
    batch_dependent: bool = False

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Approach:
        """Start at the clean inputs."""
        targets = batch.targets.gather(1, upload_indices(attempts, batch.targets.device)[:, None]).squeeze(1)
        return Approach(batch.inputs, batch.labels, targets, batch.inputs)

    def advance(self, model: Model, rows: Approach, numbers: Sequence[int]) -> Step[Approach]:
        """Move to the linearized boundary, and back towards the clean input from points beyond the real one."""
        points = _next_points(
            model, rows.current, rows.center, rows.labels, rows.targets, self.norm,
            batch_dependent=self.batch_dependent,
        )  # fmt: skip
        right = still_right(model, self.task, points, rows.labels)
        found = ~right & (length(points - rows.center, self.norm) <= self.eps)
        return Step(replace(rows, current=_back_within(points, rows.center, right)), points, found)

    def passes(self, number: int) -> tuple[int, int]:
        """Return two forward passes, to linearize and to look at the result, and a backward pass."""
        return 2, 1

    def passes_of_whole(self) -> tuple[int, int]:
        """Return one more forward pass per step, to look at the projected batch."""
        return 3 * self.steps, self.steps

    def last(self, rows: Approach) -> Tensor:
        """Return the clean inputs."""
        return rows.center

    def whole(self, model: Model, batch: Batch, attempt: int) -> Tensor:
        """Return the step of the whole batch with the most misclassified samples.

        Points beyond eps would change the predictions of those within, so the whole batch is projected.
        """
        count = len(batch.inputs)
        rows, best = self.begin(batch, [attempt] * count), batch.inputs
        most = torch.full((), -1, device=best.device)
        for number in range(self.steps):
            step = self.advance(model, rows, [number] * count)
            pulled = project(step.points, rows.center, self.norm, self.eps)
            broken = (~still_right(model, self.task, pulled, rows.labels)).sum()
            best, most = torch.where(broken > most, pulled, best), torch.maximum(most, broken)
            rows = step.rows
        return best


def nearest_fab(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    *,
    targets: Tensor,
    norm: str,
    steps: int,
    batch_dependent: bool = False,
) -> Tensor:
    """Return the nearest misclassified points that FAB finds, at any distance; the clean input if there is none.

    This is the attack as published: it takes all its steps and has no budget. `targets` are the target classes, (n,),
    other arguments are as for `FAB`.
    """
    current, best = inputs, inputs
    nearest = torch.full((len(inputs),), torch.inf, device=inputs.device)
    for _ in range(steps):
        points = _next_points(model, current, inputs, labels, targets, norm, batch_dependent=batch_dependent)
        right, away = still_right(model, task, points, labels), length(points - inputs, norm)
        nearer = ~right & (away < nearest)
        best = torch.where(per_sample(nearer, points), points, best)
        nearest = torch.where(nearer, away, nearest)
        current = _back_within(points, inputs, right)
    return best


def _next_points(
    model: Model, current: Tensor, center: Tensor, labels: Tensor, targets: Tensor, norm: str, *, batch_dependent: bool
) -> Tensor:
    """Return the next points: the projections of iterate and clean input onto the plane, mixed by their lengths."""
    slope, _, gap = loss_gradient(model, current, labels, targets, targeted_margin, batch_dependent=batch_dependent)
    gap_at_center = gap + ((center - current) * slope).flatten(1).sum(dim=1)
    near = onto_plane(current, slope, gap, norm)
    home = onto_plane(center, slope, gap_at_center, norm)
    near_length, home_length = length(near, norm), length(home, norm)
    bias = (near_length / (near_length + home_length).clamp_min(TINY)).clamp_max(LARGEST_BIAS)
    bias = per_sample(bias, current)
    mixed = (1 - bias) * (current + OVERSHOOT * near) + bias * (center + OVERSHOOT * home)
    return mixed.clamp(0, 1)


def _back_within(points: Tensor, center: Tensor, right: Tensor) -> Tensor:
    """Return `points`, those beyond the boundary moved back towards the clean input."""
    return torch.where(per_sample(right, points), points, center + BACKWARD * (points - center))


def onto_plane(points: Tensor, slope: Tensor, gap: Tensor, norm: str) -> Tensor:
    """Return the shortest move from `points` to the plane gap + ⟨slope, move⟩ = 0 that stays inside [0, 1].

    Every coordinate moves by min(λ·v, room), v being 1 for Linf and |slope| for L2, with the smallest λ that
    reaches the plane: the optimality condition of the projection. What a coordinate contributes is linear in λ up
    to its breakpoint room/v, so that sorting the breakpoints finds λ. If the box does not meet the plane, all
    coordinates move as far as they can. In L1 those with the steepest slope move as far as they can, one after the
    other, until the plane is reached. Source: Croce and Hein (2020), section 3.1, equations (3) to (5).

    Args:
        points: (n, C, …) in [0, 1].
        slope: the plane's normal, of the same shape.
        gap: value of the linear function at `points`, (n,).
        norm: ``Linf``, ``L2`` or ``L1``, in which the move is shortest.
    """
    at, normal = points.flatten(1), slope.flatten(1)
    sign = -gap.sign()[:, None] * normal.sign()
    room = torch.where(sign > 0, 1 - at, at)
    weight = normal.abs()
    if norm == "L1":
        return (sign * _steepest_first(weight, room, gap.abs()[:, None])).view_as(points)
    speed = torch.ones_like(weight) if norm == "Linf" else weight
    breakpoints = (room / speed.clamp_min(1e-30)).clamp_max(ENDLESS)
    order = breakpoints.argsort(dim=1)
    breakpoints = breakpoints.gather(1, order)
    stopped = (weight * room).gather(1, order).cumsum(dim=1)
    moving = (weight * speed).gather(1, order)
    moving = (moving.flip(1).cumsum(dim=1).flip(1) - moving).clamp_min(0)
    # reach[k]: how far the linear function gets when λ is at the k-th breakpoint; it grows with k.
    reach = stopped + breakpoints * moving
    wanted = gap.abs()[:, None]
    k = (reach < wanted).sum(dim=1, keepdim=True).clamp_max(reach.shape[1] - 1)
    behind = torch.where(k > 0, stopped.gather(1, (k - 1).clamp_min(0)), torch.zeros_like(wanted))
    active = moving.gather(1, k) + (weight * speed).gather(1, order.gather(1, k))
    scale = ((wanted - behind) / active.clamp_min(1e-30)).clamp(0, ENDLESS)
    return (sign * torch.minimum(scale * speed, room)).view_as(points)


def _steepest_first(weight: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """Return how far each coordinate moves so that the sum of weight·move is `wanted`, the heaviest ones first."""
    weight, order = weight.sort(dim=1, descending=True)
    room = room.gather(1, order)
    gain = weight * room
    left = wanted - (gain.cumsum(dim=1) - gain)
    moves = torch.minimum((left / weight.clamp_min(1e-30)).clamp(0, ENDLESS), room)
    return torch.zeros_like(room).scatter(1, order, moves)
