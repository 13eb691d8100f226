"""RayS: a search for the ray, along a corner direction, on which a wrong decision is nearest. Decisions only, Linf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks.geometry import per_sample
from stein_bench.attacks.losses import Model
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.tasks import Task

TOLERANCE = 1e-3
"""Width at which the search along a ray ends, as in the authors' implementation, unless eps asks for less."""
SHARE_OF_EPS = 0.1
"""A larger share of eps would be too coarse to tell small steps towards it."""
CLEAN, TRIAL, ALONG = 0, 1, 2
"""What a row asks about: the clean input, another ray at the best radius so far, or points along that ray."""


@dataclass(frozen=True)
class Rays(Rows):
    """The state of RayS.

    Clean inputs, labels, the best ray (whether each pixel moves up) with the smallest radius at which it is known to be
    misclassified (1 without any), the block that the ray being tried flips (its level, its place), the radii between
    which its boundary lies, and what is asked about.
    """

    center: Tensor
    labels: Tensor
    up: Tensor
    radius: Tensor
    level: Tensor
    block: Tensor
    low: Tensor
    high: Tensor
    phase: Tensor


@dataclass(frozen=True)
class RayS(Search[Rays]):
    """Hierarchical search over rays x + r·s, s in {-1, 1}^d, clipped to [0, 1], for the smallest misclassified r.

    Source: Chen and Gu, "RayS: a ray searching method for hard-label adversarial attack" (2020), algorithms 1 to 3.
    A ray differs from the best one by a block of flipped signs, first all of them, then halves, quarters, …. It is
    searched by bisection only if its point at the best radius is misclassified. The first query is the clean input,
    the second the ray towards white. Since only radii up to eps count, a bisection asks about eps first, and a sample
    is done at its first misclassified point within eps. Nothing is random.

    Attributes:
        task, eps: as for `PGD`; the norm is Linf.
        queries: forward passes per sample, at most.
    """

    task: Task
    eps: float
    queries: int
    attempts: int = 1

    @property
    def steps(self) -> int:  # type: ignore[override]
        """The number of queries."""
        return self.queries

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Rays:
        """Start with the ray towards white, none of whose points is known to be misclassified."""
        count, device = len(batch.inputs), batch.inputs.device
        zeros = torch.zeros(count, dtype=torch.long, device=device)
        return Rays(
            center=batch.inputs,
            labels=batch.labels,
            up=torch.ones_like(batch.inputs, dtype=torch.bool),
            radius=torch.ones(count, device=device),
            level=zeros - 1,
            block=zeros,
            low=torch.zeros(count, device=device),
            high=torch.ones(count, device=device),
            phase=zeros + CLEAN,
        )

    @torch.no_grad()
    def advance(self, model: Model, rows: Rays, numbers: Sequence[int]) -> Step[Rays]:
        """Ask for one decision per sample."""
        trial = rows.up ^ flipped(rows.up, rows.level, rows.block)
        along = between(rows.low, rows.high, self.eps)
        asked = torch.where(rows.phase == ALONG, along, rows.radius)
        asked = torch.where(rows.phase == CLEAN, torch.zeros_like(asked), asked)
        points = _at(rows.center, trial, asked)
        wrong = ~self.task.correct(model(points), rows.labels)
        return Step(self._after(rows, trial, asked, wrong), points, wrong & (asked <= self.eps))

    def passes(self, number: int) -> tuple[int, int]:
        """Return one forward pass."""
        return 1, 0

    def last(self, rows: Rays) -> Tensor:
        """Return the best ray's point within eps."""
        return _at(rows.center, rows.up, rows.radius.clamp_max(self.eps))

    def _after(self, rows: Rays, trial: Tensor, asked: Tensor, wrong: Tensor) -> Rays:
        clean, tried, along = (rows.phase == phase for phase in (CLEAN, TRIAL, ALONG))
        high = torch.where((tried | along) & wrong, asked, rows.high)
        low = torch.where(along & ~wrong, asked, torch.where(along, rows.low, torch.zeros_like(rows.low)))
        found = (tried & wrong | along) & (high - low <= min(TOLERANCE, SHARE_OF_EPS * self.eps))
        following = tried & ~wrong | found
        done = (rows.block + 1) * _size(rows.up, rows.level) >= rows.up[0].numel()
        deeper = following & done
        return replace(
            rows,
            up=torch.where(per_sample(found, trial), trial, rows.up),
            # A misclassified clean input is a boundary at radius 0, for batches whose samples take all steps together.
            radius=torch.where(found, high, torch.where(clean & wrong, torch.zeros_like(high), rows.radius)),
            level=torch.where(deeper, rows.level + 1, rows.level),
            block=torch.where(deeper, torch.zeros_like(rows.block), rows.block + following.long()),
            low=low,
            high=high,
            phase=torch.where(clean | following, TRIAL, ALONG),
        )


def between(low: Tensor, high: Tensor, eps: float) -> Tensor:
    """Return the radius to ask about next, (n,): eps if it lies between the two, else their mean."""
    return torch.where((low < eps) & (high > eps), eps, (low + high) / 2)


def flipped(up: Tensor, level: Tensor, block: Tensor) -> Tensor:
    """Return which pixels a block holds, boolean of the shape of `up`: none at level -1.

    At level s the d values of a sample, in memory order, form blocks of ⌈d / 2^s⌉, at least one.
    """
    size, places = _size(up, level), torch.arange(up[0].numel(), device=up.device)
    first = (block * size)[:, None]
    inside = (places >= first) & (places < first + size[:, None]) & (level >= 0)[:, None]
    return inside.view_as(up)


def _size(up: Tensor, level: Tensor) -> Tensor:
    """Return the number of values in a block of that level, (n,)."""
    total = up[0].numel()
    halvings = level.clamp(0, max(total - 1, 1).bit_length())  # then a block is a single value
    parts = torch.ones_like(level) << halvings
    whole: Tensor = torch.where(level < 0, total, (total + parts - 1) // parts)
    return whole


def _at(center: Tensor, up: Tensor, radius: Tensor) -> Tensor:
    away = per_sample(radius, center)
    return torch.where(up, center + away, center - away).clamp(0, 1)
