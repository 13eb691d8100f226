"""The Square attack: random search that changes a square window at a time and uses scores only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stein_bench.attacks.geometry import TINY, length, per_sample, project
from stein_bench.attacks.losses import Model, margin, mean_with
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.host import upload, upload_indices
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the share of changed pixels halves, in the original schedule of 10,000 queries."""


@dataclass(frozen=True)
class Proposals(Rows):
    """The state of Square, for views of the inputs with spatial axes.

    Best points so far, clean inputs, labels, lowest margins, uniform numbers (n, queries - 1, m) for the windows, and
    the number of queries made.
    """

    best: Tensor
    center: Tensor
    labels: Tensor
    lowest: Tensor
    chances: Tensor
    number: Tensor


@dataclass(frozen=True)
class Square(Search[Proposals]):
    """Random search over squares (cubes, in volumes).

    Source: Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack via random
    search" (2020), algorithms 1 to 3. A proposal is kept if it lowers the margin z_y - max of the others.
    The schedule of window sizes is that of 10,000 queries whatever their number, as in the reference AutoAttack.
    Inputs (n, F) without spatial axes are treated as rows of F pixels. Every sample has its own seed, so its proposals
    depend neither on the batch nor on the other samples.

    Attributes:
        task, norm, eps: as for `PGD`.
        shape: shape of one sample, (C, …) or (F,).
        queries: forward passes per sample, at most.
        share: share of the pixels that the first windows cover, in (0, 1]; p in the paper.
        eot: draws of a random model for each query, over which the margins are averaged.
        random: whether the model is random: then a proposal is kept for its mean margin alone, not for its verdict.
    """

    task: Task
    norm: str
    eps: float
    shape: tuple[int, ...]
    queries: int
    share: float
    attempts: int = 1
    eot: int = 1
    random: bool = False
    counts_draws = True

    @property
    def steps(self) -> int:  # type: ignore[override]
        """The number of queries."""
        return self.queries

    @property
    def _view(self) -> tuple[int, ...]:
        return self.shape if len(self.shape) > 1 else (1, *self.shape)

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Proposals:
        """Draw the start and all random numbers."""
        view = batch.inputs.reshape(-1, *self._view)
        start, _, draws = _KINDS[self.norm]
        chances = _chances(batch.seeds, max(self.queries - 1, 1), draws(self._view), "windows")
        first = view + start(view, batch.seeds, self.eps)
        return Proposals(
            best=project(first, view, self.norm, self.eps) if self.norm == "L1" else first.clamp(0, 1),
            center=view,
            labels=batch.labels,
            lowest=torch.full((len(view),), torch.inf, device=view.device),
            chances=upload(chances, view.device),
            number=torch.zeros(len(view), dtype=torch.long, device=view.device),
        )

    @torch.no_grad()
    def advance(self, model: Model, rows: Proposals, numbers: Sequence[int]) -> Step[Proposals]:
        """Evaluate the start or a proposal, and keep it if it lowers the margin."""
        candidate = self._candidates(rows, numbers)
        shown = candidate.view(-1, *self.shape)
        margins, wrong = self._scored(model, shown, rows.labels)
        broken = wrong >= 0.5
        better = margins < rows.lowest
        if not self.random:
            better |= broken
        best = torch.where(per_sample(better, candidate), candidate, rows.best)
        lowest = torch.where(better, margins, rows.lowest)
        return Step(replace(rows, best=best, lowest=lowest, number=rows.number + 1), shown, broken, wrong, -margins)

    def _scored(self, model: Model, shown: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the margins, averaged over the draws, and the share of draws that are wrong, each (n,)."""
        margins, wrong = None, torch.zeros(len(shown), device=shown.device)
        for number in range(self.eot):
            logits = model(shown)
            margins = mean_with(margins, margin(logits, labels), number)
            wrong = wrong + ~self.task.correct(logits, labels)
        assert margins is not None
        return margins, wrong / self.eot

    def passes(self, number: int) -> tuple[int, int]:
        """Return one forward pass per draw."""
        return self.eot, 0

    def last(self, rows: Proposals) -> Tensor:
        """Return the best points."""
        return rows.best.view(-1, *self.shape)

    def _candidates(self, rows: Proposals, numbers: Sequence[int]) -> Tensor:
        """Return the start for samples without a query, else a proposal, with windows of the size of its query."""
        sides = {n: window_side(self._view[1:], self.share, n, self.norm) if n else 0 for n in set(numbers)}
        by_side: dict[int, list[int]] = {}
        for row, number in enumerate(numbers):
            by_side.setdefault(sides[number], []).append(row)
        query = (rows.number - 1).clamp_min(0).view(-1, 1, 1).expand(-1, 1, rows.chances.shape[2])
        parts = (rows.best, rows.center, rows.chances.gather(1, query).squeeze(1))
        if len(by_side) == 1:
            return self._proposed(*parts, next(iter(by_side)))
        candidate = rows.best.clone()
        for side, chosen in by_side.items():
            index = upload_indices(chosen, rows.device)
            best, center, chances = (part.index_select(0, index) for part in parts)
            candidate.index_copy_(0, index, self._proposed(best, center, chances, side))
        return candidate

    def _proposed(self, best: Tensor, center: Tensor, chances: Tensor, side: int) -> Tensor:
        if not side:
            return best
        propose = _KINDS[self.norm][1]
        return project(center + propose(best - center, side, self.eps, chances), center, self.norm, self.eps)


def window_side(sides: Sequence[int], share: float, query: int, norm: str) -> int:
    """Return the window's side at that query (from 1): its area is p·(number of pixels), at least one pixel.

    In L2 and L1 sides are odd and at least 3, if the image is that large.
    """
    p = share * 0.5 ** float(sum(query > mark for mark in HALVINGS))
    side = max(round(math.pow(p * math.prod(sides), 1 / len(sides))), 1)
    if norm != "Linf":
        side = max(side, 3)
        side += 1 - side % 2
    return min(side, *sides)


Start = Callable[[Tensor, Sequence[int], float], Tensor]
Propose = Callable[[Tensor, int, float, Tensor], Tensor]


def _chances(seeds: Sequence[int], rows: int, columns: int, purpose: str) -> Tensor:
    """Return uniform numbers in [0, 1), (n, rows, columns), drawn per sample from its own seed."""
    generators = (torch.Generator().manual_seed(derive_seed(seed, purpose)) for seed in seeds)
    return torch.stack([torch.rand(rows, columns, generator=generator) for generator in generators])


def _signs(chances: Tensor) -> Tensor:
    return torch.where(chances < 0.5, -1.0, 1.0)


def _window(corner_chances: Tensor, sides: Sequence[int], side: int) -> Tensor:
    """Return the flat positions of a window per sample, at a corner drawn uniformly: (n, side^d)."""
    found = torch.zeros(1, 1, dtype=torch.long, device=corner_chances.device)
    offsets = torch.arange(side, device=corner_chances.device)
    for axis, size in enumerate(sides):
        room = size - side + 1
        corner = (corner_chances[:, axis] * room).long().clamp_max(room - 1)
        along = (corner[:, None] + offsets) * math.prod(sides[axis + 1 :])
        found = (found[:, :, None] + along[:, None]).flatten(1)
    return found


def _linf_start(view: Tensor, seeds: Sequence[int], eps: float) -> Tensor:
    """Return vertical stripes: ±eps with one sign per channel and column."""
    channels, width = view.shape[1], view.shape[-1]
    signs = _signs(upload(_chances(seeds, channels, width, "stripes"), view.device))
    return eps * signs.view(-1, channels, *[1] * (view.ndim - 3), width).expand_as(view)


def _linf_proposal(delta: Tensor, side: int, eps: float, chances: Tensor) -> Tensor:
    """Return `delta` with a window set to ±eps, one sign per channel."""
    sides = delta.shape[2:]
    window = _window(chances[:, : len(sides)], sides, side)
    signs = _signs(chances[:, len(sides) :])
    flat = delta.flatten(2)
    index = window[:, None].expand(-1, flat.shape[1], -1)
    return flat.scatter(2, index, (eps * signs)[:, :, None].expand_as(index)).view_as(delta)


def _bumps(view: Tensor, seeds: Sequence[int], eps: float, norm: str) -> Tensor:
    """Return a grid of bumps with one sign per tile and channel, scaled to length eps."""
    sides = view.shape[2:]
    tile = max(min(sides) // 5, 1)
    grid = [size // tile for size in sides]
    pattern = _bump_on(view.device, tile, len(sides), 0, norm)
    signs = _signs(upload(_chances(seeds, view.shape[1], math.prod(grid), "tiles"), view.device))
    delta = signs.view(*view.shape[:2], *grid)
    for axis in range(len(sides)):
        delta = delta.repeat_interleave(tile, dim=2 + axis)
    delta = delta * pattern.repeat(*grid)
    delta = F.pad(delta, [pad for i in reversed(range(len(sides))) for pad in (0, sides[i] - delta.shape[2 + i])])
    return delta * per_sample(eps / length(delta, norm).clamp_min(TINY), delta)


def _moved_energy(delta: Tensor, side: int, eps: float, chances: Tensor, norm: str) -> Tensor:
    """Return `delta` with the energy of a second window and the unused budget moved into the first.

    A channel's energy is its squared L2 norm or, in L1, its L1 norm times the number of channels: more than there is,
    so that its projection onto the ball is sparse.
    """
    sides, channels = delta.shape[2:], delta.shape[1]
    d = len(sides)
    into, away = _window(chances[:, :d], sides, side), _window(chances[:, d : 2 * d], sides, side)
    signs = _signs(chances[:, 2 * d : 2 * d + channels])
    axes = (chances[:, -1] * d).long().clamp_max(d - 1)
    patterns = torch.stack([_bump_on(delta.device, side, d, axis, norm).flatten() for axis in range(d)])[axes]
    flat = delta.flatten(2)
    into, away = (window[:, None].expand(-1, channels, -1) for window in (into, away))
    inside = torch.zeros_like(flat).scatter(2, into, 1.0).scatter(2, away, 1.0)
    order = 1 if norm == "L1" else 2
    if order == 1:
        unused = (eps - flat.abs().sum(dim=(1, 2))).clamp_min(0) / channels
        energy = channels * ((flat * inside).abs().sum(dim=2) + unused[:, None])
    else:
        unused = (eps**2 - flat.square().sum(dim=(1, 2))).clamp_min(0) / channels
        energy = ((flat * inside).square().sum(dim=2) + unused[:, None]).sqrt()
    old = flat.gather(2, into)
    new = signs[:, :, None] * patterns[:, None] + old / old.norm(order, dim=2, keepdim=True).clamp_min(TINY)
    new = new / new.norm(order, dim=2, keepdim=True).clamp_min(TINY) * energy[:, :, None]
    return flat.scatter(2, away, 0.0).scatter(2, into, new).view_as(delta)


@lru_cache(maxsize=256)
def bump(side: int, dimensions: int, axis: int, norm: str = "L2") -> Tensor:
    """Return the pattern η of unit `norm` for a window of that side: a bump in one half, its negative in the other.

    The halves lie along `axis`. A bump grows from its border to its center: at depth M it is the sum over k ≤ M of
    1/(n + 1 - k)², n being half of its first side. Source: Andriushchenko et al. (2020), section 3.4, equation (2).
    In L1 it is steeper, with fourth powers, and both bumps weigh the same, as in the reference implementation of
    Croce and Hein, "Mind the box" (2021).
    """
    half, power = side // 2, 4 if norm == "L1" else 2
    bumps = [
        (sign, _bump((side,) * (dimensions - 1) + (rows,), power))
        for sign, rows in ((1, half), (-1, side - half))
        if rows
    ]
    parts = [sign * part / (part.sum() if norm == "L1" else 1) for sign, part in bumps]
    pattern = torch.cat(parts, dim=-1).movedim(-1, axis)
    normalized: Tensor = pattern / (pattern.abs().sum() if norm == "L1" else pattern.norm())
    return normalized


@lru_cache(maxsize=256)
def _bump_on(device: torch.device, side: int, dimensions: int, axis: int, norm: str) -> Tensor:
    return upload(bump(side, dimensions, axis, norm), device)


def _bump(sides: tuple[int, ...], power: int) -> Tensor:
    n = max(sides) // 2
    heights = torch.tensor([1 / (n + 1 - k) ** power for k in range(n + 1)]).cumsum(0)
    away = [(torch.arange(1, size + 1) - (size // 2) - 1).abs() for size in sides]
    distance = torch.zeros(sides, dtype=torch.long)
    for axis, steps in enumerate(away):
        distance = torch.maximum(distance, steps.view(-1, *[1] * (len(sides) - 1 - axis)))
    return heights[(n - distance).clamp_min(0)]


_Kind = tuple[Start, Propose, Callable[[Sequence[int]], int]]


def _bump_kind(norm: str) -> _Kind:
    return partial(_bumps, norm=norm), partial(_moved_energy, norm=norm), lambda shape: 2 * len(shape) - 1 + shape[0]


_KINDS: dict[str, _Kind] = {
    "Linf": (_linf_start, _linf_proposal, lambda shape: len(shape) - 1 + shape[0]),
    "L2": _bump_kind("L2"),
    "L1": _bump_kind("L1"),
}
"""By norm: the start, the proposals, and how many uniform numbers a proposal for one sample (C, …) takes."""
