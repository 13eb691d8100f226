"""The Square attack: random search that changes a square window at a time and uses scores only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stein_bench.attacks.active import Findings
from stein_bench.attacks.geometry import TINY, per_sample, project
from stein_bench.attacks.losses import Model, margin
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the share of changed pixels halves, in the original schedule of 10,000 queries."""


@torch.no_grad()
def square(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    *,
    seeds: Sequence[int],
    norm: str,
    eps: float,
    queries: int,
    share: float,
    batch_dependent: bool = False,
) -> Tensor:
    """Return adversarial inputs found by random search over squares (cubes, in volumes).

    Source: Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack via random
    search" (2020), algorithms 1 to 3. A proposal is kept if it lowers the margin z_y - max of the others.
    The schedule of window sizes is that of 10,000 queries whatever their number, as in the reference AutoAttack.
    Inputs (n, F) without spatial axes are treated as rows of F pixels. Every sample has its own seed, so its proposals
    depend neither on the batch nor on the other samples.

    Args:
        model, inputs, labels, task, norm, eps, batch_dependent: as in `pgd`.
        seeds: one per sample.
        queries: forward passes per sample, at most.
        share: share of the pixels that the first windows cover, in (0, 1]; p in the paper.
    """
    shape = inputs.shape[1:] if inputs.ndim > 2 else torch.Size((1, *inputs.shape[1:]))
    view = inputs.reshape(-1, *shape)
    start, propose, draws = _LINF if norm == "Linf" else _L2
    chances = _chances(seeds, max(queries - 1, 1), draws(shape), "windows").to(inputs.device)
    best = (view + start(view, seeds, eps)).clamp(0, 1)
    findings, center = Findings(inputs, batch_dependent=batch_dependent), view
    lowest = torch.full((len(inputs),), torch.inf, device=inputs.device)
    candidate = best
    for query in range(queries):
        if query:
            side = window_side(shape[1:], share, query, norm)
            candidate = project(center + propose(best - center, side, eps, chances[:, query - 1]), center, norm, eps)
        shown = candidate.view(-1, *inputs.shape[1:])
        logits = model(shown)
        margins = margin(logits, labels)
        right = task.correct(logits, labels)
        better = (margins < lowest) | ~right
        best = torch.where(per_sample(better, best), candidate, best)
        lowest = torch.where(better, margins, lowest)
        remaining = findings.drop_broken(shown, right)
        if findings.done:
            return findings.adv_inputs
        if remaining is not None:
            best, center, chances = best[remaining], center[remaining], chances[remaining]
            lowest, labels = lowest[remaining], labels[remaining]
    return findings.finish(best.view(-1, *inputs.shape[1:]))


def window_side(sides: Sequence[int], share: float, query: int, norm: str) -> int:
    """Return the window's side at that query (from 1): its area is p·(number of pixels), at least one pixel.

    In L2 sides are odd and at least 3, if the image is that large.
    """
    p = share * 0.5 ** float(sum(query > mark for mark in HALVINGS))
    side = max(round(math.pow(p * math.prod(sides), 1 / len(sides))), 1)
    if norm == "L2":
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
    room = torch.tensor([size - side + 1 for size in sides], device=corner_chances.device)
    corners = (corner_chances * room).long().clamp_max(room - 1)
    offsets = torch.cartesian_prod(*[torch.arange(side)] * len(sides)).view(-1, len(sides)).to(corner_chances.device)
    strides = torch.tensor([math.prod(sides[i + 1 :]) for i in range(len(sides))], device=corner_chances.device)
    return ((corners[:, None] + offsets[None]) * strides).sum(dim=2)


def _linf_start(view: Tensor, seeds: Sequence[int], eps: float) -> Tensor:
    """Return vertical stripes: ±eps with one sign per channel and column."""
    channels, width = view.shape[1], view.shape[-1]
    signs = _signs(_chances(seeds, channels, width, "stripes")).to(view.device)
    return eps * signs.view(-1, channels, *[1] * (view.ndim - 3), width).expand_as(view)


def _linf_proposal(delta: Tensor, side: int, eps: float, chances: Tensor) -> Tensor:
    """Return `delta` with a window set to ±eps, one sign per channel."""
    sides = delta.shape[2:]
    window = _window(chances[:, : len(sides)], sides, side)
    signs = _signs(chances[:, len(sides) :])
    flat = delta.flatten(2)
    index = window[:, None].expand(-1, flat.shape[1], -1)
    return flat.scatter(2, index, (eps * signs)[:, :, None].expand_as(index)).view_as(delta)


def _l2_start(view: Tensor, seeds: Sequence[int], eps: float) -> Tensor:
    """Return a grid of bumps with one sign per tile and channel, scaled to length eps."""
    sides = view.shape[2:]
    tile = max(min(sides) // 5, 1)
    grid = [size // tile for size in sides]
    pattern = bump(tile, len(sides), 0).to(view.device)
    signs = _signs(_chances(seeds, view.shape[1], math.prod(grid), "tiles")).to(view.device)
    delta = signs.view(*view.shape[:2], *grid)
    for axis in range(len(sides)):
        delta = delta.repeat_interleave(tile, dim=2 + axis)
    delta = delta * pattern.repeat(*grid)
    delta = F.pad(delta, [pad for i in reversed(range(len(sides))) for pad in (0, sides[i] - delta.shape[2 + i])])
    size = delta.flatten(1).norm(dim=1).clamp_min(TINY)
    return delta * per_sample(eps / size, delta)


def _l2_proposal(delta: Tensor, side: int, eps: float, chances: Tensor) -> Tensor:
    """Return `delta` with the energy of a second window and the unused budget moved into the first."""
    sides, channels = delta.shape[2:], delta.shape[1]
    d = len(sides)
    into, away = _window(chances[:, :d], sides, side), _window(chances[:, d : 2 * d], sides, side)
    signs = _signs(chances[:, 2 * d : 2 * d + channels])
    axes = (chances[:, -1] * d).long().clamp_max(d - 1)
    patterns = torch.stack([bump(side, d, axis).flatten() for axis in range(d)]).to(delta.device)[axes]
    flat = delta.flatten(2)
    into, away = (window[:, None].expand(-1, channels, -1) for window in (into, away))
    inside = torch.zeros_like(flat).scatter(2, into, 1.0).scatter(2, away, 1.0)
    unused = (eps**2 - flat.square().sum(dim=(1, 2))).clamp_min(0) / channels
    energy = ((flat * inside).square().sum(dim=2) + unused[:, None]).sqrt()
    old = flat.gather(2, into)
    new = signs[:, :, None] * patterns[:, None] + old / old.norm(dim=2, keepdim=True).clamp_min(TINY)
    new = new / new.norm(dim=2, keepdim=True).clamp_min(TINY) * energy[:, :, None]
    return flat.scatter(2, away, 0.0).scatter(2, into, new).view_as(delta)


@lru_cache(maxsize=256)
def bump(side: int, dimensions: int, axis: int) -> Tensor:
    """Return the pattern η of unit length for a window of that side: a bump in one half, its negative in the other.

    The halves lie along `axis`. A bump grows from its border to its center: at depth M it is the sum over k ≤ M of
    1/(n + 1 - k)², n being half of its first side. Source: Andriushchenko et al. (2020), section 3.4, equation (2).
    """
    half = side // 2
    parts = [
        sign * _bump((side,) * (dimensions - 1) + (rows,)) for sign, rows in ((1, half), (-1, side - half)) if rows
    ]
    pattern = torch.cat(parts, dim=-1).movedim(-1, axis)
    normalized: Tensor = pattern / pattern.norm()
    return normalized


def _bump(sides: tuple[int, ...]) -> Tensor:
    n = max(sides) // 2
    heights = torch.tensor([1 / (n + 1 - k) ** 2 for k in range(n + 1)]).cumsum(0)
    away = [(torch.arange(1, size + 1) - (size // 2) - 1).abs() for size in sides]
    distance = torch.zeros(sides, dtype=torch.long)
    for axis, steps in enumerate(away):
        distance = torch.maximum(distance, steps.view(-1, *[1] * (len(sides) - 1 - axis)))
    return heights[(n - distance).clamp_min(0)]


_LINF: tuple[Start, Propose, Callable[[Sequence[int]], int]] = (
    _linf_start,
    _linf_proposal,
    lambda shape: len(shape) - 1 + shape[0],
)
_L2: tuple[Start, Propose, Callable[[Sequence[int]], int]] = (
    _l2_start,
    _l2_proposal,
    lambda shape: 2 * (len(shape) - 1) + shape[0] + 1,
)
