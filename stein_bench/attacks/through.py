"""Searches that take their gradients from another model than the one they attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stein_bench.attacks.losses import Model
from stein_bench.attacks.search import Batch, Rows, Search, Step, still_right
from stein_bench.tasks import Task


@dataclass(frozen=True)
class GradientSource:
    """A model whose gradients stand in for those of the evaluated model.

    Attributes:
        name: what it does, in a few words, for the report.
        build: makes it from the evaluated model; it has outputs of the same shape.
        exact: whether its predictions are those of the evaluated model.
        foreign: whether its logits are those of another network, from which adversarial inputs are to transfer.
        forward_passes, backward_passes: passes that a gradient takes.
        score_passes: forward passes that its outputs alone take.
    """

    name: str
    build: Callable[[Model], Model]
    exact: bool = True
    foreign: bool = False
    forward_passes: int = 1
    backward_passes: int = 1
    score_passes: int = 1


OWN = GradientSource("its own gradients", lambda model: model)
"""The evaluated model itself."""


@dataclass(frozen=True)
class Strategy:
    """How the adaptive attack treats a model, decided on a few samples before it runs.

    Attributes:
        sources: where gradients come from, the best first; at least one.
        hidden: whether the model's own gradients are worse than those of another source or than no gradients.
        flat: whether its outputs hardly ever change with the input, and no logits were found behind them, so that
            decisions are all there is.
        useless: whether no source has a gradient that predicts the loss.
        scores: where searches without gradients take their scores from.
    """

    sources: tuple[GradientSource, ...]
    hidden: bool = False
    flat: bool = False
    useless: bool = False
    scores: GradientSource = OWN


@dataclass(frozen=True)
class Through(Search[Any]):
    """Another search whose steps use the gradients and scores of `model`.

    Only the evaluated model decides which points are adversarial.

    Attributes:
        search: what is searched.
        source: what `model` is.
        model: gives logits and gradients.
        task: defines success.
    """

    search: Search[Any]
    source: GradientSource
    model: Model
    task: Task

    @property
    def steps(self) -> int:  # type: ignore[override]
        """Those of the search."""
        return self.search.steps

    @property
    def open_end(self) -> bool:  # type: ignore[override]
        """As for the search."""
        return self.search.open_end

    @property
    def attempts(self) -> int:  # type: ignore[override]
        """Those of the search."""
        return self.search.attempts

    @property
    def counts_draws(self) -> bool:  # type: ignore[override]
        """As for the search, unless its draws are of another model."""
        return self.search.counts_draws and not self.source.foreign

    def prefetch(self, batch: Batch) -> None:
        """Prepare the search."""
        self.search.prefetch(batch)

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Rows:
        """Begin the search."""
        rows: Rows = self.search.begin(batch, attempts)
        return rows

    def advance(self, model: Model, rows: Any, numbers: Sequence[int]) -> Step[Any]:
        """Make one step of the search; its points are shown to `model` unless the other model predicts the same."""
        step = self.search.advance(self.model, rows, numbers)
        if self.source.exact:
            return step
        broken = ~still_right(model, self.task, step.points, rows.labels)
        if step.inside is not None:
            broken = broken & step.inside
        if self.source.foreign:
            return Step(step.rows, step.points, broken)
        return step._replace(broken=broken)

    def passes(self, number: int) -> tuple[int, int]:
        """Return the passes of a gradient and, where predictions differ, one for the verdict."""
        forward, backward = self._of_source(*self.search.passes(number))
        return forward + int(not self.source.exact), backward

    def passes_of_whole(self) -> tuple[int, int]:
        """Return those of the search's steps on the source alone."""
        each = [self._of_source(*self.search.passes(number)) for number in range(self.steps)]
        return sum(forward for forward, _ in each), sum(backward for _, backward in each)

    def _of_source(self, forward: int, backward: int) -> tuple[int, int]:
        per_gradient = self.source.forward_passes if backward else self.source.score_passes
        return forward * per_gradient, backward * self.source.backward_passes

    def last(self, rows: Any) -> Tensor:
        """Return the point of highest loss."""
        return self.search.last(rows)

    def whole(self, model: Model, batch: Batch, attempt: int) -> Tensor:
        """Return the result of one attempt on samples whose predictions depend on each other."""
        return self.search.whole(self.model, batch, attempt)


def through(search: Search[Any], source: GradientSource, model: Model, task: Task) -> Through:
    """Return `search` with the gradients and scores of `source` for the evaluated `model`."""
    return Through(search, source, source.build(model), task)
