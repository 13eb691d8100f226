"""DeepFool: steps to the nearest linearized boundary until the prediction changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks.chunks import chunks
from stein_bench.attacks.fab import onto_plane
from stein_bench.attacks.geometry import length, per_sample
from stein_bench.attacks.losses import Model, ranked_targets
from stein_bench.attacks.nearest import clearly_wrong, rounding
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.tasks import Task

FURTHER = 2.0
"""Gaps are taken as at least this many times what rounding may change: a point on the boundary itself still moves."""
MISSED = 1e-3
"""A plane counts as reached if no more than this share of the gap is left."""


@dataclass(frozen=True)
class Path(Rows):
    """The state of DeepFool: clean inputs, labels, the sum of the steps, and the points to evaluate next."""

    center: Tensor
    labels: Tensor
    total: Tensor
    current: Tensor


@dataclass(frozen=True)
class DeepFool(Search[Path]):
    """Steps to the nearest of the boundaries to other classes, each linearized at the current point.

    Source: Moosavi-Dezfooli, Fawzi, Frossard, "DeepFool: a simple and accurate method to fool deep neural networks"
    (2016), algorithm 2, and equations (11) and (12) for Linf. The point evaluated is the clean input plus
    1 + `overshoot` times the sum of the steps. Steps are the shortest within [0, 1], as in FAB (the paper has no
    box); where the box does not bind they are the paper's. A sample stops at its first misclassified point, which is
    not necessarily the nearest. Under batch statistics misclassified samples wait where they are while others move.

    Attributes:
        task, norm, batch_dependent: as for `PGD`.
        steps: most steps; each costs a forward pass and a backward pass per target class.
        targets: how many of the likeliest other classes are considered at each step.
        overshoot: η of the paper.
        classes: number of the model's outputs.
    """

    task: Task
    norm: str
    steps: int
    targets: int
    overshoot: float
    classes: int
    attempts: int = 1
    batch_dependent: bool = False
    open_end = True

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Path:
        """Start at the clean inputs."""
        return Path(batch.inputs, batch.labels, torch.zeros_like(batch.inputs), batch.inputs)

    def advance(self, model: Model, rows: Path, numbers: Sequence[int]) -> Step[Path]:
        """Evaluate the current points; those not misclassified move on."""
        parts = [slice(None)] if self.batch_dependent else list(chunks(len(numbers), rows.device))
        found = [self._moves(model, rows.part(part)) for part in parts]
        moves, wrong = map(torch.cat, zip(*found, strict=True))
        total = torch.where(per_sample(wrong, moves), rows.total, rows.total + moves)
        current = (rows.center + (1 + self.overshoot) * total).clamp(0, 1)
        return Step(replace(rows, total=total, current=current), rows.current, wrong)

    def passes(self, number: int) -> tuple[int, int]:
        """Return a forward pass and a backward pass per class; those of the last point are not used."""
        return 1, min(self.targets, self.classes - 1)

    def last(self, rows: Path) -> Tensor:
        """Return the last points, which are not evaluated."""
        return rows.current

    def _moves(self, model: Model, rows: Path) -> tuple[Tensor, Tensor]:
        """Return the step to the nearest linearized boundary, and which points are misclassified."""
        points = rows.current.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = model(points)
            targets = ranked_targets(logits.detach(), rows.labels, self.targets)
            own = logits.float().gather(1, rows.labels[:, None])
            gaps = logits.float().gather(1, targets) - own
            sums = gaps.sum(dim=0).unbind()
        wanted = torch.minimum(gaps.detach(), -FURTHER * rounding(logits.detach())[:, None])
        nearest = _NearestPlane(rows.current, self.norm)
        for number, total in enumerate(sums):
            (slope,) = torch.autograd.grad(total, points, retain_graph=number + 1 < len(sums))
            nearest.offer(slope, wanted[:, number])
        return nearest.move, clearly_wrong(self.task, logits.detach(), rows.labels)


class _NearestPlane:
    """The shortest of the moves to planes offered so far, from each of the points.

    Planes that the box does not meet, or without a slope, come after all that can be reached, by their distance without
    the box.
    """

    def __init__(self, points: Tensor, norm: str) -> None:
        self._points, self._norm = points, norm
        self.move = torch.zeros_like(points)
        self._length = torch.full((len(points),), torch.inf, device=points.device)
        self._reached = torch.zeros_like(self._length, dtype=torch.bool)

    def offer(self, slope: Tensor, gap: Tensor) -> None:
        """Consider the planes gap + ⟨slope, move⟩ = 0; gaps are negative, so that moves lead away from the label."""
        move = onto_plane(self._points, slope, gap, self._norm)
        left = (gap + (slope * move).flatten(1).sum(dim=1)).abs()
        reached = left <= MISSED * gap.abs()
        dual = slope.flatten(1).norm(dim=1, p=1 if self._norm == "Linf" else 2)
        away = torch.where(reached, length(move, self._norm), gap.abs() / dual)
        nearer = (reached & ~self._reached) | ((reached == self._reached) & (away < self._length))
        self.move = torch.where(per_sample(nearer, move), move, self.move)
        self._length = torch.where(nearer, away, self._length)
        self._reached = self._reached | reached
