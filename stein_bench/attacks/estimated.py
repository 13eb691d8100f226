"""NES and SPSA: steps along gradients that are estimated from differences of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from stein_bench.attacks import streams
from stein_bench.attacks.geometry import TINY, direction, per_sample, project, within
from stein_bench.attacks.losses import Model, margin
from stein_bench.attacks.queries import updates_within
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.tasks import Task

FIRST_DECAY, SECOND_DECAY = 0.9, 0.999
"""β₁ and β₂ of Adam (Kingma and Ba 2015)."""

Noise = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True)
class Estimates(Rows):
    """The state of a search by estimated gradients.

    Clean inputs, labels and keys of random numbers; the iterate; the sum over the pairs of the present estimate; its
    running mean and, for Adam, the running mean of its square (else 0 values); the margin at the pair's first point;
    the point with the lowest margin within eps, that margin, and the number of queries made.
    """

    center: Tensor
    labels: Tensor
    keys: Tensor
    current: Tensor
    total: Tensor
    first: Tensor
    second: Tensor
    ahead: Tensor
    best: Tensor
    lowest: Tensor
    number: Tensor


@dataclass(frozen=True)
class Estimated(Search[Estimates]):
    """Descent on the margin z_y - max of the others, whose gradient is estimated from pairs of queries x ± σ·u.

    The estimate is the mean of (f(x + σu) - f(x - σu)) / 2σ · u over pairs, up to a factor that no step depends on.

    - ``nes``: u is normal, and a step of length α goes along the sign (in L2 the direction) of a running mean. Source:
      Ilyas, Engstrom, Athalye and Lin, "Black-box adversarial attacks with limited queries and information" (2018),
      algorithm 1 and section 3.
    - ``spsa``: u is ±1, and the steps are Adam's with step size α (in L2 scaled to length α). Source: Uesato,
      O'Donoghue, van den Oord and Kohli, "Adversarial risk and the dangers of evaluating against weak attacks" (2018),
      algorithm 1.

    The first query is the clean input, and every iterate is queried too. Queries stay within [0, 1]; those around an
    iterate may leave the ε-ball, and then do not count. A sample is done at its first misclassified point within eps.

    Attributes:
        task, norm, eps: as for `PGD`.
        queries: forward passes per sample, at most.
        samples: queries per estimate, an even number.
        spread: distance σ (in SPSA δ) per pixel at which the margin is compared.
        alpha: length of a step, in the norm.
        decay: weight of the earlier estimates in the running mean, in [0, 1); for ``nes`` only.
    """

    kind: Literal["nes", "spsa"]
    task: Task
    norm: str
    eps: float
    queries: int
    samples: int
    spread: float
    alpha: float
    decay: float = FIRST_DECAY
    attempts: int = 1

    @property
    def steps(self) -> int:  # type: ignore[override]
        """The number of queries: the clean input, then `samples` queries and the new iterate per update."""
        return 1 + updates_within(self.queries, self.samples) * (self.samples + 1)

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Estimates:
        """Start at the clean inputs."""
        inputs, device = batch.inputs, batch.inputs.device
        zeros = torch.zeros_like(inputs)
        return Estimates(
            center=inputs, labels=batch.labels, keys=streams.keys_of(batch.seeds, self.kind, attempts, device),
            current=inputs, total=zeros, first=zeros, second=zeros if self.kind == "spsa" else zeros[:, :0],
            ahead=torch.zeros(len(inputs), device=device), best=inputs,
            lowest=torch.full((len(inputs),), torch.inf, device=device),
            number=torch.zeros(len(inputs), dtype=torch.long, device=device),
        )  # fmt: skip

    @torch.no_grad()
    def advance(self, model: Model, rows: Estimates, numbers: Sequence[int]) -> Step[Estimates]:
        """Ask for the scores of one point per sample."""
        place = (rows.number - 1) % (self.samples + 1)
        iterate = (rows.number == 0) | (place == self.samples)
        noise = self._noise(rows)
        offset = torch.where(iterate, 0.0, torch.where(place % 2 == 0, self.spread, -self.spread))
        points = (rows.current + per_sample(offset, noise) * noise).clamp(0, 1)
        logits = model(points)
        margins, wrong = margin(logits, rows.labels), ~self.task.correct(logits, rows.labels)
        near = within(points, rows.center, self.norm, self.eps)
        better = near & (wrong | (margins < rows.lowest))
        after = replace(
            self._learned(rows, noise, margins, ~iterate & (place % 2 == 1)),
            ahead=margins,
            best=torch.where(per_sample(better, points), points, rows.best),
            lowest=torch.where(better, margins, rows.lowest),
            number=rows.number + 1,
        )
        return Step(self._moved(after, place == self.samples - 1), points, wrong & near, inside=near)

    def passes(self, number: int) -> tuple[int, int]:
        """Return one forward pass."""
        return 1, 0

    def last(self, rows: Estimates) -> Tensor:
        """Return the points with the lowest margins."""
        return rows.best

    def _noise(self, rows: Estimates) -> Tensor:
        """Return the direction of the present pair, the same for both of its queries."""
        draw: Noise = streams.normal if self.kind == "nes" else streams.signs
        past = rows.number - 1
        pair = past // (self.samples + 1) * self.samples + past % (self.samples + 1) // 2
        return draw(rows.keys, pair, rows.center[0].numel()).view_as(rows.center)

    def _learned(self, rows: Estimates, noise: Tensor, margins: Tensor, second: Tensor) -> Estimates:
        """Add the difference of a pair, after its `second` query."""
        # Two infinite margins have no difference to learn from.
        difference = torch.nan_to_num(rows.ahead - margins, nan=0.0, posinf=1.0, neginf=-1.0)
        weight = torch.where(second, difference, torch.zeros_like(difference))
        return replace(rows, total=rows.total + per_sample(weight, noise) * noise)

    def _moved(self, rows: Estimates, full: Tensor) -> Estimates:
        """Make the step of the rows whose estimate is complete."""
        gradient = rows.total / (self.samples * self.spread)
        decay = FIRST_DECAY if self.kind == "spsa" else self.decay
        first, second = decay * rows.first + (1 - decay) * gradient, rows.second
        move = direction(first, self.norm)
        if self.kind == "spsa":
            second = SECOND_DECAY * rows.second + (1 - SECOND_DECAY) * gradient.square()
            move = self._adam(first, second, (rows.number - 1) // (self.samples + 1) + 1)
        points = project(rows.current - self.alpha * move, rows.center, self.norm, self.eps)
        chosen = per_sample(full, points)
        return replace(
            rows,
            current=torch.where(chosen, points, rows.current),
            total=torch.where(chosen, torch.zeros_like(rows.total), rows.total),
            first=torch.where(chosen, first, rows.first),
            second=torch.where(per_sample(full, second), second, rows.second),
        )

    def _adam(self, first: Tensor, second: Tensor, update: Tensor) -> Tensor:
        """Return Adam's step for the means after that many updates, in L2 of unit length."""
        mean = first / per_sample(1 - FIRST_DECAY**update, first)
        square = second / per_sample(1 - SECOND_DECAY**update, second)
        move = mean / (square.sqrt() + TINY)
        return direction(move, "L2") if self.norm == "L2" else move
