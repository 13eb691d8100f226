"""What searches for the nearest adversarial point have in common: they keep the nearest so far and take all steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
from torch import Tensor

from stein_bench.attacks.geometry import length, per_sample
from stein_bench.attacks.losses import margin
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.tasks import Task

RELATIVE_ROUNDING, ABSOLUTE_ROUNDING = 1e-5, 1e-6
"""Rounding of a margin: relative to the largest logit, and in itself."""


@dataclass(frozen=True)
class Nearest(Rows):
    """Clean inputs, labels, the nearest adversarial points so far, and their distances.

    As long as there is none, the point is the clean input and its distance infinite.
    """

    center: Tensor
    labels: Tensor
    best: Tensor
    distance: Tensor

    def seen(self, points: Tensor, broken: Tensor, norm: str) -> Self:
        """Return the state after `points` were evaluated, of which those `broken` are adversarial."""
        away = length(points - self.center, norm)
        nearer = broken & (away < self.distance)
        best = torch.where(per_sample(nearer, points), points, self.best)
        return replace(self, best=best, distance=torch.where(nearer, away, self.distance))

    @property
    def found(self) -> Tensor:
        """Which samples have an adversarial point, boolean (n,)."""
        return self.distance < torch.inf

    @property
    def done(self) -> Tensor:
        """Which samples need no search, because the clean input is misclassified."""
        return self.distance == 0


N = TypeVar("N", bound=Nearest)


class NearestSearch(Search[N]):
    """A search whose attempt ends with the nearest adversarial point that it has evaluated.

    It does not stop at the first success: a sample leaves early only where nothing nearer is to be expected.
    Under batch statistics every sample gets the nearest of its points, which were evaluated in different batches:
    verification decides whether they are adversarial together.
    """

    def step(self, rows: N, ended: Tensor) -> Step[N]:
        """Return the result of a step after which the samples that have `ended` leave with their nearest points."""
        return Step(rows, rows.best, ended)

    def last(self, rows: N) -> Tensor:
        """Return the nearest adversarial points; the clean inputs where there are none."""
        return rows.best


def clearly_wrong(task: Task, logits: Tensor, labels: Tensor) -> Tensor:
    """Return which predictions are wrong by more than the rounding of another batch size could undo, boolean (n,).

    Points are sought as near to the boundary as possible; on it, rounding would decide the verdict.
    """
    return ~task.correct(logits, labels) & (margin(logits, labels) <= -rounding(logits))


def rounding(logits: Tensor) -> Tensor:
    """Return how much rounding may change a margin, (n,)."""
    return RELATIVE_ROUNDING * logits.float().abs().amax(dim=1) + ABSOLUTE_ROUNDING


def nothing_found(batch: Batch) -> dict[str, Tensor]:
    """Return the fields of `Nearest` before the first step."""
    endless = torch.full((len(batch.inputs),), torch.inf, device=batch.inputs.device)
    return {"center": batch.inputs, "labels": batch.labels, "best": batch.inputs, "distance": endless}


def annealed(first: float, last: float, number: Tensor, steps: int) -> Tensor:
    """Return `first` at step 0, which falls to `last` at `steps` along half a cosine; `number` is (n,)."""
    return last + (first - last) * (1 + torch.cos(number * (math.pi / steps))) / 2


def farthest(center: Tensor, norm: str) -> Tensor:
    """Return the distance of the farthest point in [0, 1], (n,): no perturbation is larger."""
    return length(torch.maximum(center, 1 - center), norm)
