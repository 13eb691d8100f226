"""Searches on random models, whose predictions at one and the same point differ from draw to draw.

There an early stop would keep the first point with an unlucky draw, which is mostly close to the clean input and right
again in the next draw. So every search goes on to its end, unless a sample stays wrong, and several attempts are
compared in draws of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stein_bench.attacks.geometry import per_sample
from stein_bench.attacks.losses import Model
from stein_bench.attacks.search import Batch, Search
from stein_bench.host import upload_indices
from stein_bench.tasks import Task

SETTLED = 60
"""A sample's search ends after so many wrong draws in a row, at consecutive points of the search: then at most 5 % of
draws there are right, with a confidence of 95 % (the rule of three: 3/60)."""
COMPARED = 10
"""Least number of draws in which the results of several attempts are compared."""


@torch.no_grad()
def most_often_wrong(
    model: Model, task: Task, searches: Sequence[Search[Any]], batch: Batch, eot: int = 1
) -> tuple[Tensor, list[int]]:
    """Return the points at which the searches end, and the number of the search each is from, from 0.

    Of several attempts that is the point that is wrong in most draws. Ties are broken by the higher mean loss. No
    sample leaves early but a `SETTLED` one, for which no attempt follows.

    Args:
        model: maps [0, 1] to logits; predictions are random, but do not depend on the batch.
        task: loss and success.
        searches: at least one; all attempts of all of them are made.
        batch: the samples.
        eot: draws with which the searches evaluate each point.
    """
    attempts = [(place, number) for place, search in enumerate(searches) for number in range(search.attempts)]
    best, left = batch.inputs.clone(), list(range(len(batch.seeds)))
    origin = torch.zeros(len(left), dtype=torch.long, device=best.device)
    most = torch.full((len(left),), -1.0, device=best.device)
    highest = torch.full_like(most, -torch.inf)
    for place, attempt in attempts:
        part, index = batch.select(left), upload_indices(left, best.device)
        points, settled = _attempt(model, searches[place], part, attempt, eot)
        if len(attempts) == 1:
            return points, [0] * len(points)
        wrong, losses = _compared(model, task, points, part.labels, max(eot, COMPARED))
        wrong = torch.where(settled, 1.0, wrong)
        better = (wrong > most[index]) | ((wrong == most[index]) & (losses > highest[index]))
        best[index] = torch.where(per_sample(better, points), points, best[index])
        origin[index] = torch.where(better, place, origin[index])
        most[index], highest[index] = (
            torch.where(better, new, old[index]) for new, old in ((wrong, most), (losses, highest))
        )
        left = [row for row, done in zip(left, settled.tolist(), strict=True) if not done]
        if not left:
            break
    return best, origin.tolist()


def _attempt(model: Model, search: Search[Any], batch: Batch, attempt: int, eot: int) -> tuple[Tensor, Tensor]:
    """Return the points at which one attempt ends, and which samples have settled there, boolean (n,).

    A search without losses ends at the last point that was wrong, if there is one.
    """
    points, count = batch.inputs.clone(), len(batch.seeds)
    settled = torch.zeros(count, dtype=torch.bool, device=points.device)
    index = torch.arange(count, device=points.device)
    run, found = torch.zeros(count, device=points.device), settled
    rows = search.begin(batch, [attempt] * count)
    for number in range(search.steps):
        step = search.advance(model, rows, [number] * len(index))
        rows = step.rows
        if step.wrong is None:
            points[index[step.broken]] = step.points[step.broken]
            found = found | step.broken
            continue
        run = torch.where(step.wrong == 1, run + eot, 0.0)
        done = run >= SETTLED
        if bool(done.any()):
            points[index[done]], settled[index[done]] = step.points[done], True
            left = (~done).nonzero().squeeze(1)
            index, run, found, rows = index[left], run[left], found[left], rows.select(left)
            if not len(index):
                return points, settled
    points[index[~found]] = search.last(rows)[~found]
    return points, settled


def _compared(model: Model, task: Task, points: Tensor, labels: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Return the share of so many draws that are wrong, and the mean loss, each (n,)."""
    wrong = losses = torch.zeros(len(points), device=points.device)
    for _ in range(draws):
        logits = model(points)
        wrong = wrong + ~task.correct(logits, labels)
        losses = losses + task.loss(logits, labels).float()
    return wrong / draws, losses / draws
