"""Auto-PGD in L1: sparse steps whose sparsity and size adapt, in balls of decreasing radius (Croce and Hein 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from stein_bench.attacks.geometry import per_sample, project_l1, sparse_direction
from stein_bench.attacks.losses import Averaged, Loss, Model, averaged_gradient
from stein_bench.attacks.search import Batch, Rows, Search, Start, Step
from stein_bench.host import upload, upload_indices
from stein_bench.tasks import Task

SHRINKING = (3.0, 2.0, 1.0)
"""Radii of the balls in turn, in multiples of eps."""
ONE_BALL = (1.0,)
"""All moves within eps."""
ENTRIES = (0.3, 0.6)
"""Shares of the moves after which the second and the third of these begin."""
PERIOD = 0.04
"""Share of a ball's moves after which sparsity and step size adapt."""
DENSEST = 0.2
"""Largest share of the values that the first steps change."""
SPARSER = 1.5
"""A step changes as many values as the best perturbation does, divided by this."""
FEWER = 0.95
"""The step size is reset if the best perturbation changes less than this share of the values it did before."""
SMALLER, SMALLEST = 1.5, 0.1
"""Otherwise the step size is divided by the first, down to the second times the radius."""


@dataclass(frozen=True)
class Schedule:
    """The plan of an attempt; evaluation number t is made with t moves behind it.

    Attributes:
        radii: radius of the ball in which the evaluation is made, in multiples of eps.
        first: evaluations that are the first in their ball.
        adapting: evaluations after which sparsity and step size adapt.
    """

    radii: tuple[float, ...]
    first: frozenset[int]
    adapting: frozenset[int]


@lru_cache(maxsize=64)
def schedule(moves: int, radii: tuple[float, ...]) -> Schedule:
    """Return the plan of that many moves.

    >>> plan = schedule(10, (3.0, 2.0, 1.0))
    >>> plan.radii
    (3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    >>> sorted(plan.first), sorted(plan.adapting)
    ([0, 3, 6], [1, 2, 4, 5, 7, 8, 9, 10])
    """
    starts = [0, *(int(share * moves) for share in ENTRIES[: len(radii) - 1])]
    ends = [*starts[1:], moves + 1]
    adapting: set[int] = set()
    for start, end in zip(starts, ends, strict=True):
        period = max(int(PERIOD * (end - start)), 1)
        adapting |= set(range(start + period, end, period))
    inside = [radius for radius, start, end in zip(radii, starts, ends, strict=True) for _ in range(start, end)]
    return Schedule(tuple(inside), frozenset(starts), frozenset(adapting))


@lru_cache(maxsize=64)
def _on_device(moves: int, radii: tuple[float, ...], device: torch.device) -> Tensor:
    """Return radius, first and adapting for each evaluation and one that does not take place, (3, moves + 2)."""
    plan, numbers = schedule(moves, radii), range(moves + 2)
    flags = ([float(number in chosen) for number in numbers] for chosen in (plan.first, plan.adapting))
    return upload(torch.tensor([[*plan.radii, plan.radii[-1]], *flags]), device)


@dataclass(frozen=True)
class SparseAscent(Rows):
    """The state of auto-PGD in L1.

    `count` is the number of values that a step changes, `changed` that of the best perturbation when the search last
    adapted, and `number` that of the steps that a sample has behind it.
    """

    center: Tensor
    labels: Tensor
    targets: Tensor
    current: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_losses: Tensor
    step: Tensor
    count: Tensor
    changed: Tensor
    number: Tensor


@dataclass(frozen=True)
class SparseAPGD(Search[SparseAscent]):
    """Auto-PGD in L1, which needs no step size.

    Source: Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers" (2021),
    with the numbers of its reference implementation. A step changes the values of largest gradient,
    two thirds as many as the best perturbation changes. It is as long as the radius while that number falls, and
    becomes shorter while it does not. The balls have radius 3·eps, 2·eps and eps; each but the first is entered at
    the best point of the one before, projected.

    A sample stops at its first misclassified iterate within eps; a sample without one gets its iterate of highest loss
    there. Under batch statistics the batch stays whole, and the iterate within eps with the most misclassified samples
    is returned.

    Attributes:
        task, loss, targeted, attempts, batch_dependent: as for `APGD`.
        eps: radius of the L1 ball.
        iterations: number of moves of an attempt, entries into balls included; each costs a forward pass, each but the
            entries a backward pass, and the last point a forward pass.
        start: perturbations to start from, in the first ball.
        radii: of the balls, in multiples of eps; the last is 1.
        eot: as for `APGD`.
    """

    task: Task
    loss: Loss
    eps: float
    iterations: int
    start: Start
    targeted: bool = False
    attempts: int = 1
    batch_dependent: bool = False
    radii: tuple[float, ...] = SHRINKING
    eot: int = 1
    counts_draws = True

    @property
    def steps(self) -> int:  # type: ignore[override]
        """One more than the moves: the last point is evaluated too."""
        return self.iterations + 1

    @property
    def _schedule(self) -> Schedule:
        return schedule(self.iterations, self.radii)

    def _planned(self, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return radius, first and adapting for evaluations with those numbers, (n,) each."""
        radii, first, adapting = _on_device(self.iterations, self.radii, number.device)[:, number]
        return self.eps * radii, first > 0, adapting > 0

    def begin(self, batch: Batch, attempts: Sequence[int]) -> SparseAscent:
        """Start at the perturbations of `start`."""
        inputs, targets = batch.inputs, batch.labels
        if self.targeted:
            column = upload_indices([number % batch.targets.shape[1] for number in attempts], inputs.device)
            targets = batch.targets.gather(1, column[:, None]).squeeze(1)
        number = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)
        radius, _, _ = self._planned(number)
        current = project_l1(inputs + self.start(batch, attempts), inputs, radius)
        changed = _changed(current, inputs)
        return SparseAscent(
            center=inputs, labels=batch.labels, targets=targets, current=current, gradient=current, best=current,
            best_gradient=current, best_losses=torch.full_like(radius, -torch.inf), step=radius,
            count=(changed / SPARSER).clamp_max(DENSEST * inputs[0].numel()), changed=changed, number=number,
        )  # fmt: skip

    def advance(self, model: Model, rows: SparseAscent, numbers: Sequence[int]) -> Step[SparseAscent]:
        """Evaluate the current points, adapt at checkpoints, and move or enter the next ball."""
        learned, seen = self._evaluate(model, rows, numbers)
        radius, _, _ = self._planned(rows.number)
        inside = radius <= self.eps
        return Step(
            self._move(learned, numbers), rows.current, seen.broken & inside, seen.wrong * inside, seen.losses.float(),
            inside,
        )  # fmt: skip

    def passes(self, number: int) -> tuple[int, int]:
        """Return one of each per draw, but no backward pass where no step along the gradient follows."""
        return self.eot, self.eot * int(self._steps_follow([number]))

    def last(self, rows: SparseAscent) -> Tensor:
        """Return the points of highest loss."""
        return rows.best

    def whole(self, model: Model, batch: Batch, attempt: int) -> Tensor:
        """Return the iterate within eps with the most misclassified samples, ties broken by the higher loss."""
        count = len(batch.inputs)
        rows, best = self.begin(batch, [attempt] * count), batch.inputs
        most = torch.full((), -1.0, device=best.device)
        highest = torch.full((), -torch.inf, device=best.device)
        for number in range(self.steps):
            learned, seen = self._evaluate(model, rows, [number] * count)
            if self._schedule.radii[number] <= 1:
                wrong, loss = seen.broken.sum(), seen.losses.float().sum()
                better = (wrong > most) | ((wrong == most) & (loss > highest))
                best = torch.where(better, rows.current, best)
                most, highest = torch.where(better, wrong, most), torch.where(better, loss, highest)
            rows = self._move(learned, [number] * count)
        return best

    def _steps_follow(self, numbers: Sequence[int]) -> bool:
        """Return whether a step along the gradient follows any of those evaluations."""
        return any(number < self.iterations and number + 1 not in self._schedule.first for number in numbers)

    def _evaluate(self, model: Model, rows: SparseAscent, numbers: Sequence[int]) -> tuple[SparseAscent, Averaged]:
        """Record the model's outputs at the current points, which are returned too."""
        seen = averaged_gradient(
            model, rows.current, rows.labels, rows.targets, self.loss, self.task,
            eot=self.eot, batch_dependent=self.batch_dependent, backward=self._steps_follow(numbers),
        )  # fmt: skip
        gradient, losses = seen.gradient, seen.losses.float()
        higher = losses > rows.best_losses
        # A non-finite first loss counts as the lowest, so that any finite point becomes the best.
        better = higher | self._planned(rows.number)[1]
        learned = replace(
            rows,
            best=torch.where(per_sample(better, rows.best), rows.current, rows.best),
            best_gradient=torch.where(per_sample(better, gradient), gradient, rows.best_gradient),
            best_losses=torch.where(higher, losses, rows.best_losses),
            gradient=gradient,
        )
        return learned, seen

    def _move(self, rows: SparseAscent, numbers: Sequence[int]) -> SparseAscent:
        """Step along the gradient, or enter the next ball from the best point."""
        if any(number in self._schedule.adapting for number in numbers):
            rows = self._adapt(rows)
        number = rows.number + 1
        radius, enters, _ = self._planned(number)
        ahead = rows.current + per_sample(rows.step, rows.current) * sparse_direction(
            rows.gradient, rows.current, rows.count
        )
        ahead = torch.where(per_sample(enters, ahead), rows.best, ahead)
        moved = replace(rows, current=project_l1(ahead, rows.center, radius), number=number)
        if not any(number + 1 in self._schedule.first for number in numbers):
            return moved
        changed = _changed(moved.current, moved.center)
        return replace(
            moved,
            best_losses=torch.where(enters, -torch.inf, moved.best_losses),
            step=torch.where(enters, radius, moved.step),
            count=torch.where(enters, changed / SPARSER, moved.count),
            changed=torch.where(enters, changed, moved.changed),
        )

    def _adapt(self, rows: SparseAscent) -> SparseAscent:
        """At a checkpoint, take over the sparsity of the best point and adapt the step size."""
        radius, _, marked = self._planned(rows.number)
        changed = _changed(rows.best, rows.center)
        fewer = changed < FEWER * rows.changed
        smaller = torch.maximum(rows.step / SMALLER, SMALLEST * radius)
        back = per_sample(fewer & marked, rows.current)
        return replace(
            rows,
            step=torch.where(marked, torch.where(fewer, radius, smaller), rows.step),
            count=torch.where(marked, changed / SPARSER, rows.count),
            changed=torch.where(marked, changed, rows.changed),
            current=torch.where(back, rows.best, rows.current),
            gradient=torch.where(back, rows.best_gradient, rows.gradient),
        )


def _changed(points: Tensor, center: Tensor) -> Tensor:
    """Return how many values differ from the clean input, (n,)."""
    return (points != center).flatten(1).sum(dim=1).float()
