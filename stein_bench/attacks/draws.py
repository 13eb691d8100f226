"""Predictions, once or in several draws of a random model, as the columns of the task's outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stein_bench.guard import forked_rng
from stein_bench.report.metric_columns import is_metric
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task, finite_rows


class Predicted(NamedTuple):
    """Predictions on n samples.

    Attributes:
        outcomes: the task's columns.
        correct: which samples are right, boolean (n,).
        finite: which outputs are finite, boolean (n,).
    """

    outcomes: dict[str, Tensor]
    correct: Tensor
    finite: Tensor


@dataclass(frozen=True)
class Draws:
    """The seeds of two independent sets of equally many draws.

    Attributes:
        selecting: of the draws that select the worst attack for each sample.
        fresh: of the draws that give the figures: since they have no part in the selection, it does not lower them.
    """

    selecting: tuple[int, ...]
    fresh: tuple[int, ...]

    @classmethod
    def seeded(cls, count: int, *parts: int | str) -> Draws:
        """Return two sets of `count` draws whose seeds depend on `parts` (run seed, phase, sample ids) alone."""

        def seeds(purpose: str) -> tuple[int, ...]:
            return tuple(derive_seed(*parts, purpose, number) for number in range(count))

        return cls(seeds("selecting"), seeds("fresh"))


def predicted(
    model: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, task: Task, draws: Draws | None = None
) -> Predicted:
    """Return the predictions of `model`; of a random one, with `draws`, the majority verdicts and the verdict of each.

    With draws the columns are those of the task, ``correct`` meaning right in more than half of the fresh draws (half
    is not enough) and ``score`` the mean over them, and two more, boolean (n, draws): ``draws``, which fresh draws are
    right, and ``selecting``, which of the others are. There is no ``confidence``: that of a draw says nothing about the
    majority. Outputs are finite if those of every draw are.
    """
    if draws is None:
        logits = model(inputs)
        return Predicted(task.outcomes(logits, labels), task.correct(logits, labels), finite_rows(logits))
    selecting, _, finite = _drawn(model, inputs, labels, task, draws.selecting)
    fresh, columns, fresh_finite = _drawn(model, inputs, labels, task, draws.fresh)
    correct = 2 * fresh.sum(dim=1) > len(draws.fresh)
    outcomes = {**columns, "correct": correct, "draws": fresh, "selecting": selecting}
    return Predicted(outcomes, correct, finite & fresh_finite)


def _drawn(
    model: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, task: Task, seeds: Sequence[int]
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return which draws are right, (n, draws), the task's columns with mean scores, and which outputs are finite."""
    found, finite = [], []
    for seed in seeds:
        with forked_rng(seed):
            logits = model(inputs)
        found.append(task.outcomes(logits, labels))
        finite.append(finite_rows(logits))
    columns = {name: column for name, column in found[0].items() if name != "confidence"}
    averaged = [name for name in columns if name == "score" or is_metric(name)]
    means = {name: torch.stack([one[name].float() for one in found]).mean(dim=0) for name in averaged}
    columns = {**columns, **means}
    right = torch.stack([one["correct"] for one in found], dim=1)
    return right, columns, torch.stack(finite).all(dim=0)
