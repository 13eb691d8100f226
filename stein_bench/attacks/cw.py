"""The attack of Carlini and Wagner in L2: Adam on distance and margin together, with a search for their weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stein_bench.attacks.geometry import per_sample
from stein_bench.attacks.losses import Model, loss_gradient, margin
from stein_bench.attacks.nearest import Nearest, NearestSearch, clearly_wrong, nothing_found
from stein_bench.attacks.search import Batch, Step
from stein_bench.tasks import Task

REACH = 0.9
"""Pixels are tanh(w) / REACH, scaled to [0, 1]: 0 and 1 lie at finite w, where the slope is a fifth of the largest.
With the usual 0.999999 it is a 500,000th, so that such pixels hardly move; with 1 they never do."""
FIRST_MOMENT, SECOND_MOMENT, SMALL = 0.9, 0.999, 1e-8
"""Adam's β₁, β₂ and ε (Kingma and Ba 2015)."""
MOST = 1e10
"""The weight has no upper bound as long as it is at this value."""
CHECKS, PROGRESS = 10, 0.9999
"""A round ends early if its loss falls by less than a factor of PROGRESS within a tenth of its steps."""


@dataclass(frozen=True)
class Tangent(Nearest):
    """The state of CW: also the variables w, Adam's moments, the weight c with its bounds, and where its round is.

    Attributes:
        w, first, second: variables and moments, of the shape of the inputs.
        c, low, high: the weight of the margin in this round, and its bounds.
        success: whether this round has found an adversarial point.
        taken: steps of this round.
        checked: the loss at the last check.
        rounds: finished rounds.
    """

    w: Tensor
    first: Tensor
    second: Tensor
    c: Tensor
    low: Tensor
    high: Tensor
    success: Tensor
    taken: Tensor
    checked: Tensor
    rounds: Tensor


@dataclass(frozen=True)
class CW(NearestSearch[Tangent]):
    """Minimizes ‖δ‖² + c·max(z_y - max of the others + κ, 0) in rounds, each with a weight c from binary search.

    Source: Carlini and Wagner, "Towards evaluating the robustness of neural networks" (2017), section V, untargeted:
    pixels are (tanh(w) + 1) / 2, here with `REACH`, and c is multiplied by ten until a round succeeds. A round that
    makes no progress ends early, as in the authors' implementation, here for each sample by itself.

    Attributes:
        task, batch_dependent: as for `PGD`.
        round_steps: steps of Adam per round, each a forward and a backward pass.
        search_steps: number of rounds.
        lr: Adam's learning rate.
        c: the first weight.
        kappa: margin by which the prediction must be wrong.
    """

    task: Task
    round_steps: int
    search_steps: int
    lr: float
    c: float
    kappa: float
    attempts: int = 1
    batch_dependent: bool = False

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Most steps of all rounds together."""
        return self.round_steps * self.search_steps

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Tangent:
        """Start at the clean inputs."""
        nothing = torch.zeros(len(batch.inputs), device=batch.inputs.device)
        still, none = torch.zeros_like(batch.inputs), nothing.long()
        return Tangent(
            **nothing_found(batch), w=_variables(batch.inputs), first=still, second=still,
            c=nothing + self.c, low=nothing, high=nothing + MOST, success=nothing > 0, taken=none,
            checked=nothing + torch.inf, rounds=none,
        )  # fmt: skip

    def advance(self, model: Model, rows: Tangent, numbers: Sequence[int]) -> Step[Tangent]:
        """Evaluate the current points and step; rounds that are over make place for the next."""
        shape = torch.tanh(rows.w)
        # Relative to the start, whose rounding Adam would otherwise turn into steps of full length.
        delta = (shape - torch.tanh(_variables(rows.center))) / (2 * REACH)
        points = (rows.center + delta).clamp(0, 1)
        gradient, logits, losses = loss_gradient(
            model, points, rows.labels, rows.labels, self._hinge, batch_dependent=self.batch_dependent
        )
        broken = clearly_wrong(self.task, logits, rows.labels) & (margin(logits, rows.labels) <= -self.kappa)
        rows = rows.seen(points, broken, "L2")
        loss = delta.square().flatten(1).sum(dim=1) + rows.c * losses.float()
        slope = (2 * delta + per_sample(rows.c, delta) * gradient) * (1 - shape.square()) / (2 * REACH)
        rows = self._adam(replace(rows, success=rows.success | broken, taken=rows.taken + 1), slope)
        rows = self._next_round(rows, loss)
        return self.step(rows, rows.done | (rows.rounds >= self.search_steps))

    def _hinge(self, logits: Tensor, labels: Tensor, _targets: Tensor) -> Tensor:
        return (margin(logits, labels) + self.kappa).clamp_min(0)

    def _adam(self, rows: Tangent, slope: Tensor) -> Tangent:
        first = FIRST_MOMENT * rows.first + (1 - FIRST_MOMENT) * slope
        second = SECOND_MOMENT * rows.second + (1 - SECOND_MOMENT) * slope.square()
        mean = first / per_sample(1 - FIRST_MOMENT**rows.taken, slope)
        square = second / per_sample(1 - SECOND_MOMENT**rows.taken, slope)
        edge = _variables(torch.ones((), device=slope.device))
        w = rows.w - self.lr * mean / (square.sqrt() + SMALL)
        return replace(rows, w=torch.minimum(torch.maximum(w, -edge), edge), first=first, second=second)

    def _next_round(self, rows: Tangent, loss: Tensor) -> Tangent:
        """Let samples whose round is over begin the next one at the clean input, with another weight."""
        check = rows.taken % max(self.round_steps // CHECKS, 1) == 0
        over = (rows.taken >= self.round_steps) | (check & (loss > PROGRESS * rows.checked))
        high = torch.where(over & rows.success, torch.minimum(rows.high, rows.c), rows.high)
        low = torch.where(over & ~rows.success, torch.maximum(rows.low, rows.c), rows.low)
        c = torch.where(high < MOST, (low + high) / 2, 10 * rows.c)
        back = per_sample(over, rows.w)
        return replace(
            rows, low=low, high=high, c=torch.where(over, c, rows.c), success=rows.success & ~over,
            w=torch.where(back, _variables(rows.center), rows.w),
            first=rows.first.masked_fill(back, 0), second=rows.second.masked_fill(back, 0),
            taken=rows.taken.masked_fill(over, 0), rounds=rows.rounds + over.long(),
            checked=torch.where(over, torch.inf, torch.where(check, loss, rows.checked)),
        )  # fmt: skip


def _variables(pixels: Tensor) -> Tensor:
    """Return the w of pixels in [0, 1]."""
    return torch.atanh((2 * pixels - 1) * REACH)
