"""The targeted fast adaptive boundary attack: steps to the linearized boundary, pulled back towards the clean input."""

from __future__ import annotations

import torch
from torch import Tensor

from stein_bench.attacks.active import Findings, still_right
from stein_bench.attacks.geometry import TINY, length, per_sample, project
from stein_bench.attacks.losses import Model, loss_gradient, targeted_margin
from stein_bench.tasks import Task

LARGEST_BIAS = 0.1
"""Largest weight of the step from the clean input, α_max of the paper."""
OVERSHOOT = 1.05
"""Extrapolation beyond the linearized boundary, η of the paper."""
BACKWARD = 0.9
"""How much of the perturbation a point beyond the boundary keeps for the next step, β of the paper."""
ENDLESS = 1e9
"""A breakpoint that no perturbation within [0, 1] reaches."""


def fab(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    *,
    targets: Tensor,
    norm: str,
    eps: float,
    steps: int,
    batch_dependent: bool = False,
) -> Tensor:
    """Return adversarial inputs within eps found on the way to the nearest point of the boundary to the target class.

    Source: Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack"
    (2020), algorithm 1, with the boundary to one target class as in AutoAttack's FAB-T. The attack minimizes the
    norm; here it stops on a sample as soon as a misclassified point lies within eps, and returns the clean input
    if none does. It starts at the clean input and is deterministic.

    Args:
        model, inputs, labels, task, norm, eps, batch_dependent: as in `pgd`.
        targets: target class of each sample.
        steps: number of steps; each costs two forward passes and a backward pass.
    """
    center = current = inputs
    findings = Findings(inputs, batch_dependent=batch_dependent)
    whole, most = inputs, -1
    for _ in range(steps):
        slope, _, gap = loss_gradient(model, current, labels, targets, targeted_margin, batch_dependent=batch_dependent)
        points = _step(current, center, slope, gap, norm)
        right = still_right(model, task, points, labels)
        found = ~right & (length(points - center, norm) <= eps)
        if batch_dependent:
            # Points beyond eps would change the predictions of those within, so the whole batch is projected.
            pulled = project(points, center, norm, eps)
            broken = int((~still_right(model, task, pulled, labels)).sum())
            if broken > most:
                whole, most = pulled, broken
        remaining = findings.drop_broken(points, ~found)
        if findings.done:
            return findings.adv_inputs
        current = torch.where(per_sample(right, points), points, center + BACKWARD * (points - center))
        if remaining is not None:
            current, center, labels, targets = (part[remaining] for part in (current, center, labels, targets))
    return whole if batch_dependent else findings.adv_inputs


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

    This is the attack as published: it takes all its steps and has no budget. Arguments are as in `fab`.
    """
    current, best = inputs, inputs
    nearest = torch.full((len(inputs),), torch.inf, device=inputs.device)
    for _ in range(steps):
        slope, _, gap = loss_gradient(model, current, labels, targets, targeted_margin, batch_dependent=batch_dependent)
        points = _step(current, inputs, slope, gap, norm)
        right, away = still_right(model, task, points, labels), length(points - inputs, norm)
        nearer = ~right & (away < nearest)
        best = torch.where(per_sample(nearer, points), points, best)
        nearest = torch.where(nearer, away, nearest)
        current = torch.where(per_sample(right, points), points, inputs + BACKWARD * (points - inputs))
    return best


def _step(current: Tensor, center: Tensor, slope: Tensor, gap: Tensor, norm: str) -> Tensor:
    """Return the next iterate: the projections of iterate and clean input onto the plane, mixed by their lengths."""
    gap_at_center = gap + ((center - current) * slope).flatten(1).sum(dim=1)
    near = onto_plane(current, slope, gap, norm)
    home = onto_plane(center, slope, gap_at_center, norm)
    near_length, home_length = length(near, norm), length(home, norm)
    bias = (near_length / (near_length + home_length).clamp_min(TINY)).clamp_max(LARGEST_BIAS)
    bias = per_sample(bias, current)
    mixed = (1 - bias) * (current + OVERSHOOT * near) + bias * (center + OVERSHOOT * home)
    return mixed.clamp(0, 1)


def onto_plane(points: Tensor, slope: Tensor, gap: Tensor, norm: str) -> Tensor:
    """Return the shortest move from `points` to the plane gap + ⟨slope, move⟩ = 0 that stays inside [0, 1].

    Every coordinate moves by min(λ·v, room), v being 1 for Linf and |slope| for L2, with the smallest λ that
    reaches the plane: the optimality condition of the projection. What a coordinate contributes is linear in λ up
    to its breakpoint room/v, so that sorting the breakpoints finds λ. If the box does not meet the plane, all
    coordinates move as far as they can. Source: Croce and Hein (2020), section 3.1, equations (3) to (5).

    Args:
        points: (n, C, …) in [0, 1].
        slope: the plane's normal, of the same shape.
        gap: value of the linear function at `points`, (n,).
        norm: ``Linf`` or ``L2``, in which the move is shortest.
    """
    at, normal = points.flatten(1), slope.flatten(1)
    sign = -gap.sign()[:, None] * normal.sign()
    room = torch.where(sign > 0, 1 - at, at)
    weight = normal.abs()
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
