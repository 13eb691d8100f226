"""HopSkipJump: walks along the decision boundary towards the clean input. Decisions only, Linf and L2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks import streams
from stein_bench.attacks.geometry import TINY, direction, length, per_sample, within
from stein_bench.attacks.losses import Model
from stein_bench.attacks.rays import between
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.tasks import Task

FIRST_BATCH = 100
"""Queries of the first gradient estimate, B₀ of the paper; the t-th takes B₀·√t."""
PROBE = 0.01
"""Length of a probe, as a share of the distance in L2. The paper's 1/d is below the resolution of float32 pixels."""
GIVE_UP = 1e-3
"""Share of the first step size below which a step is given up, and the gradient estimated again."""
CLEAN, START, ALONG, PROBES, AWAY = 0, 1, 2, 3, 4
"""What a row asks about: the clean input, random points, the line to a misclassified one, the surroundings of the
boundary, or a step away from it."""


@dataclass(frozen=True)
class Walk(Rows):
    """The state of HopSkipJump.

    Clean inputs, labels and keys of random numbers; a misclassified point (the clean input before one is found), and
    the nearest so far; the signed sum of the probes, then the direction estimated from it; the plain sum of the probes,
    the sum of their signs and their number; the number of the gradient estimate, the step size; the distances between
    which the boundary lies on the line; what is asked about, and the number of queries made.
    """

    center: Tensor
    labels: Tensor
    keys: Tensor
    beyond: Tensor
    nearest: Tensor
    slope: Tensor
    probes: Tensor
    balance: Tensor
    count: Tensor
    estimate: Tensor
    size: Tensor
    low: Tensor
    high: Tensor
    phase: Tensor
    number: Tensor


@dataclass(frozen=True)
class HopSkipJump(Search[Walk]):
    """Boundary attack whose steps follow a gradient direction estimated from decisions.

    Source: Chen, Jordan and Wainwright, "HopSkipJumpAttack: a query-efficient decision-based attack" (2020),
    algorithm 2: bisection between the clean input and a misclassified one, an estimate of the boundary's normal from
    B₀·√t random probes (equation 16), a step of size dist/√t along it, halved until it is misclassified, and the next
    bisection.
    The first query is the clean input; then come random points until one is misclassified. Every query is one step of
    this search, so that samples at different places of the algorithm share batches. Since only distances up to eps
    count, a bisection asks about eps first, and a sample is done at its first misclassified point within eps.

    Attributes:
        task, norm, eps: as for `PGD`.
        queries: forward passes per sample, at most.
        attempts: number of walks, from different random points.
    """

    task: Task
    norm: str
    eps: float
    queries: int
    attempts: int = 1

    @property
    def steps(self) -> int:  # type: ignore[override]
        """The number of queries."""
        return self.queries

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Walk:
        """Start without a misclassified point."""
        inputs, device = batch.inputs, batch.inputs.device
        floats = torch.zeros(len(inputs), device=device)
        whole = torch.zeros(len(inputs), dtype=torch.long, device=device)
        return Walk(
            center=inputs, labels=batch.labels, keys=streams.keys_of(batch.seeds, "walk", attempts, device),
            beyond=inputs, nearest=inputs, slope=torch.zeros_like(inputs), probes=torch.zeros_like(inputs),
            balance=floats, count=whole, estimate=whole, size=floats, low=floats, high=floats + torch.inf,
            phase=whole + CLEAN, number=whole,
        )  # fmt: skip

    @torch.no_grad()
    def advance(self, model: Model, rows: Walk, numbers: Sequence[int]) -> Step[Walk]:
        """Ask for one decision per sample."""
        reach, asked = self._probe_length(rows), between(rows.low, rows.high, self.eps)
        points = self._points(rows, reach, asked)
        wrong = ~self.task.correct(model(points), rows.labels)
        away = length(points - rows.center, self.norm)
        after = self._walked(rows, points, wrong, away)
        after = self._bisected(rows, after, wrong, asked)
        after = self._probed(rows, after, points, wrong, reach)
        broken = wrong & within(points, rows.center, self.norm, self.eps)
        return Step(replace(after, number=rows.number + 1), points, broken)

    def passes(self, number: int) -> tuple[int, int]:
        """Return one forward pass."""
        return 1, 0

    def last(self, rows: Walk) -> Tensor:
        """Return the nearest misclassified points, moved towards the clean inputs until they are within eps."""
        return self._towards(rows, rows.nearest, torch.full_like(rows.high, self.eps))

    def _points(self, rows: Walk, reach: Tensor, asked: Tensor) -> Tensor:
        """Return the point that each row asks about."""
        steps = {
            PROBES: rows.beyond + per_sample(reach, rows.beyond) * self._noise(rows),
            AWAY: rows.beyond + per_sample(rows.size, rows.beyond) * rows.slope,
            ALONG: self._towards(rows, rows.beyond, asked),
            START: start(rows.keys, rows.number, rows.center),
        }
        points = rows.center
        for phase, found in steps.items():
            points = torch.where(per_sample(rows.phase == phase, found), found, points)
        return points.clamp(0, 1)

    def _walked(self, rows: Walk, points: Tensor, wrong: Tensor, away: Tensor) -> Walk:
        """Go to misclassified points, from where a bisection follows; else try others."""
        walks = (rows.phase != ALONG) & (rows.phase != PROBES)
        there, failed = walks & wrong, (rows.phase == AWAY) & ~wrong
        size = torch.where(failed, rows.size / 2, rows.size)
        given_up = failed & (size < GIVE_UP * rows.high / rows.estimate.clamp_min(1).sqrt())
        phase = torch.where(rows.phase == CLEAN, START, rows.phase)
        phase = torch.where(there, ALONG, torch.where(given_up, PROBES, phase))
        return self._cleared(
            replace(
                rows,
                beyond=torch.where(per_sample(there, points), points, rows.beyond),
                size=size,
                low=torch.where(there, torch.zeros_like(rows.low), rows.low),
                high=torch.where(there, away, rows.high),
                phase=phase,
            ),
            given_up,
        )

    def _bisected(self, rows: Walk, after: Walk, wrong: Tensor, asked: Tensor) -> Walk:
        """Narrow the bisection down, and end it at the boundary."""
        along = rows.phase == ALONG
        low, high = torch.where(along & ~wrong, asked, after.low), torch.where(along & wrong, asked, after.high)
        narrow = along & (high - low <= high * PROBE / math.sqrt(rows.center[0].numel()))
        boundary = self._towards(rows, rows.beyond, high)
        record = narrow & ((high < length(rows.nearest - rows.center, self.norm)) | (rows.estimate == 0))
        after = replace(
            after,
            beyond=torch.where(per_sample(narrow, boundary), boundary, after.beyond),
            nearest=torch.where(per_sample(record, boundary), boundary, rows.nearest),
            low=low,
            high=high,
            phase=torch.where(narrow, PROBES, after.phase),
        )
        return self._cleared(after, narrow)

    def _probed(self, rows: Walk, after: Walk, points: Tensor, wrong: Tensor, reach: Tensor) -> Walk:
        """Add a probe; after the last one estimate the direction, equation (16) with the mean sign as its baseline."""
        probes = rows.phase == PROBES
        sign = torch.where(probes, torch.where(wrong, 1.0, -1.0), 0.0)
        probe = (points - rows.beyond) / per_sample(reach.clamp_min(TINY), points)
        probe = torch.where(per_sample(probes, probe), probe, torch.zeros_like(probe))
        slope, total = after.slope + per_sample(sign, probe) * probe, after.probes + probe
        balance, count = after.balance + sign, after.count + probes.long()
        full = probes & (count >= (FIRST_BATCH * after.estimate.sqrt()).long())
        mean = balance / count.clamp_min(1)
        mean = torch.where(mean.abs() == 1, torch.zeros_like(mean), mean)  # all alike: their mean is the direction
        found = direction(slope - per_sample(mean, total) * total, self.norm)
        return replace(
            after,
            slope=torch.where(per_sample(full, found), found, slope),
            probes=total,
            balance=balance,
            count=count,
            size=torch.where(full, after.high / after.estimate.clamp_min(1).sqrt(), after.size),
            phase=torch.where(full, AWAY, after.phase),
        )

    def _cleared(self, rows: Walk, chosen: Tensor) -> Walk:
        """Begin the next gradient estimate of the chosen rows."""
        nothing = torch.zeros_like(rows.slope)
        return replace(
            rows,
            slope=torch.where(per_sample(chosen, nothing), nothing, rows.slope),
            probes=torch.where(per_sample(chosen, nothing), nothing, rows.probes),
            balance=torch.where(chosen, torch.zeros_like(rows.balance), rows.balance),
            count=torch.where(chosen, torch.zeros_like(rows.count), rows.count),
            estimate=rows.estimate + chosen.long(),
        )

    def _towards(self, rows: Walk, points: Tensor, away: Tensor) -> Tensor:
        """Return `points` at most `away` (n,) from the clean inputs: clipped in Linf, on the line in L2."""
        delta, most = points - rows.center, per_sample(away, points)
        if self.norm == "Linf":
            return rows.center + delta.clamp(-most, most)
        return rows.center + delta * (most / per_sample(length(delta, "L2").clamp_min(TINY), delta)).clamp_max(1.0)

    def _probe_length(self, rows: Walk) -> Tensor:
        return PROBE * length(rows.beyond - rows.center, "L2")

    def _noise(self, rows: Walk) -> Tensor:
        """Return random directions of unit L2 norm: normal for L2, uniform in a cube for Linf, as in the paper."""
        total = rows.center[0].numel()
        if self.norm == "Linf":
            noise = 2 * streams.uniform(rows.keys, rows.number, total) - 1
        else:
            noise = streams.normal(rows.keys, rows.number, total)
        return direction(noise, "L2").view_as(rows.center)


def start(keys: Tensor, numbers: Tensor, like: Tensor) -> Tensor:
    """Return random points of [0, 1], in turn uniform noise, noise of corners, and one color for all pixels.

    The paper draws uniform noise only; a network that gives all noise the same class would never be wrong on its
    samples of that class.
    """
    noise = streams.uniform(keys, numbers, like[0].numel()).view_as(like)
    color = noise.flatten(2)[:, :, :1].reshape(*noise.shape[:2], *[1] * (like.ndim - 2)) if like.ndim > 2 else noise
    kind = per_sample(numbers % 3, like)
    return torch.where(kind == 1, noise, torch.where(kind == 2, noise.round(), color.expand_as(like)))
