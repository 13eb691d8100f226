"""Searches on random models, whose predictions at one and the same point differ from draw to draw.

There an early stop would keep the first point with an unlucky draw, which is mostly close to the clean input and right
again in the next draw. So a search goes on, and its result is the point that was wrong most often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stein_bench.attacks.geometry import per_sample
from stein_bench.attacks.losses import Model
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.host import upload_indices

SETTLED = 60
"""A sample's search ends after so many wrong draws in a row, at consecutive points of the search: then at most 5 % of
draws there are right, with a confidence of 95 % (the rule of three: 3/60)."""


@dataclass(frozen=True)
class _Best(Rows):
    """The best points so far: share of wrong draws and mean loss there, and the present number of wrong draws in a row.

    Points of searches without losses count only if they are wrong.
    """

    points: Tensor
    wrong: Tensor
    losses: Tensor
    run: Tensor

    @classmethod
    def none_yet(cls, inputs: Tensor) -> _Best:
        zeros = torch.zeros(len(inputs), device=inputs.device)
        return cls(inputs, zeros, zeros - torch.inf, zeros)

    def with_step(self, step: Step[Any], draws: int) -> _Best:
        """Return the better of these points and those of a step that took so many draws at each."""
        wrong, draws = (step.broken.float(), 1) if step.wrong is None else (step.wrong, draws)
        losses = self.losses if step.losses is None else step.losses.float()
        better = (wrong > self.wrong) | ((wrong == self.wrong) & (losses > self.losses))
        return _Best(
            torch.where(per_sample(better, self.points), step.points, self.points),
            torch.where(better, wrong, self.wrong),
            torch.where(better, losses, self.losses),
            torch.where(wrong == 1, self.run + draws, 0.0),
        )

    def put(self, index: Tensor, other: _Best) -> _Best:
        """Return these with the samples at those positions replaced."""
        changed = ((name, tensor.index_copy(0, index, getattr(other, name))) for name, tensor in vars(self).items())
        return replace(self, **dict(changed))


@torch.no_grad()
def most_often_wrong(model: Model, searches: Sequence[Search[Any]], batch: Batch) -> Tensor:
    """Return for each sample the point that a random model gets wrong most often, of all points the searches evaluate.

    Ties are broken by the higher mean loss. Of points without losses the first counts; a sample that such searches
    never see wrong keeps its clean input. No sample leaves early but a `SETTLED` one.

    Args:
        model: maps [0, 1] to logits; predictions are random, but do not depend on the batch.
        searches: at least one; all attempts of all of them are made.
        batch: the samples.
    """
    best = _Best.none_yet(batch.inputs)
    for search in searches:
        for attempt in range(search.attempts):
            left = _unsettled(best)
            if not left:
                return best.points
            index = upload_indices(left, batch.inputs.device)
            found = _attempt(model, search, batch.select(left), attempt, best.select(index))
            best = best.put(index, found)
    return best.points


def _attempt(model: Model, search: Search[Any], batch: Batch, attempt: int, best: _Best) -> _Best:
    """Return the best points after one attempt, in which settled samples leave."""
    everything, here = best, list(range(len(batch.seeds)))
    rows = search.begin(batch, [attempt] * len(here))
    for number in range(search.steps + int(search.open_end)):
        step = search.advance(model, rows, [number] * len(here))
        rows, best = step.rows, best.with_step(step, search.passes(number)[0])
        left = _unsettled(best)
        if len(left) < len(here):
            everything = everything.put(upload_indices(here, batch.inputs.device), best)
            if not left:
                return everything
            index = upload_indices(left, batch.inputs.device)
            rows, best, here = rows.select(index), best.select(index), [here[row] for row in left]
    return everything.put(upload_indices(here, batch.inputs.device), best)


def _unsettled(best: _Best) -> list[int]:
    return [row for row, run in enumerate(best.run.tolist()) if run < SETTLED]
