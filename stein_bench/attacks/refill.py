"""Runs searches on independent samples; finished samples make place for the next, so that batches stay full.

Early stops shrink a batch, and on a GPU a batch of 7 takes as long as one of 128. A prediction under running
statistics does not depend on the batch, and every sample has its own seed. So a sample whose search has ended is
replaced at once by the next one, whichever batch of the data it comes from. (Servers of language models do the same
with requests, as "continuous batching".) Results are those of each sample alone, and come in the order of the data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

import torch
from torch import Tensor

from stein_bench.attacks.losses import Model
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.host import upload_indices
from stein_bench.memory import MemoryLimit

OPEN_BATCHES = 8
"""Most batches of the data in work at a time. More would let late stages of an attack, which few samples reach, wait
until they are full, but would keep results back and need memory."""


def refill(
    model: Model,
    searches: Sequence[Search[Any]],
    batches: Iterable[Batch],
    memory: MemoryLimit,
    *,
    open_batches: int = OPEN_BATCHES,
) -> Iterator[Tensor]:
    """Yield the adversarial inputs of each of the `batches`, in order.

    Every sample goes through the attempts of the `searches` in turn until one breaks it. A sample that survives all
    gets the point at which the last one ended, which is not necessarily evaluated: the caller verifies all.

    Args:
        model: maps [0, 1] to logits; predictions must not depend on the batch.
        searches: at least one.
        batches: samples, read as room becomes free.
        memory: most samples per step.
        open_batches: most batches in work at a time.

    Raises:
        torch.OutOfMemoryError: a step on a single sample does not fit.
    """
    yield from _Flow(model, searches, iter(batches), memory, open_batches).results()


def run_search(search: Search[Any], model: Model, batch: Batch, *, batch_dependent: bool) -> Tensor:
    """Return the adversarial inputs that one search finds for one batch.

    `batch_dependent`: whether a prediction depends on the other samples of the batch; then the first attempt counts.
    """
    if batch_dependent:
        return search.whole(model, batch, 0)
    return next(refill(model, [search], [batch], MemoryLimit(len(batch.seeds))))


@dataclass(eq=False)
class _Open:
    """A batch of the data in work."""

    batch: Batch
    adv_inputs: Tensor
    left: int


@dataclass
class _Sample:
    """One sample in work: where it is from, the number of its attempt, and the steps of that behind it."""

    origin: _Open
    row: int
    attempt: int = 0
    steps: int = 0


@dataclass
class _Stage:
    """One search with its samples: those taking steps with their `rows`, those put aside, those waiting to begin."""

    search: Search[Any]
    rows: Rows | None = None
    active: list[_Sample] = field(default_factory=list)
    aside: deque[tuple[Rows, list[_Sample]]] = field(default_factory=deque)
    waiting: deque[_Sample] = field(default_factory=deque)

    @property
    def ready(self) -> int:
        """Number of its samples."""
        return len(self.active) + sum(len(samples) for _, samples in self.aside) + len(self.waiting)

    def add(self, rows: Rows, samples: list[_Sample]) -> None:
        self.rows = rows if self.rows is None else self.rows.join(rows)
        self.active += samples

    def fill(self, capacity: int) -> None:
        """Let samples join until there are `capacity`: first those put aside, then those that wait."""
        while self.aside and len(self.active) < capacity:
            rows, samples = self.aside[0]
            count = min(capacity - len(self.active), len(samples))
            self.add(rows.part(slice(count)), samples[:count])
            self.aside.popleft()
            if count < len(samples):
                self.aside.appendleft((rows.part(slice(count, None)), samples[count:]))
        new = list(islice(self.waiting, max(capacity - len(self.active), 0)))
        if new:
            self.add(self.search.begin(_batch_of(new), [sample.attempt for sample in new]), new)
            for _ in new:  # only now, so that none is lost if memory runs out
                self.waiting.popleft()

    def put_aside(self, remain: int) -> None:
        """Put all active samples but the first few aside."""
        assert self.rows is not None
        self.aside.appendleft((self.rows.part(slice(remain, None)), self.active[remain:]))
        self.rows, self.active = self.rows.part(slice(remain)), self.active[:remain]


class _Flow:
    """The samples of all stages. A batch is closed, and its results returned, when none of its samples is left."""

    def __init__(
        self,
        model: Model,
        searches: Sequence[Search[Any]],
        batches: Iterator[Batch],
        memory: MemoryLimit,
        open_batches: int,
    ) -> None:
        self._model, self._batches = model, batches
        self._stages = [_Stage(search) for search in searches]
        self._memory, self._most_open = memory, open_batches
        self._open: deque[_Open] = deque()
        self._exhausted = False

    def results(self) -> Iterator[Tensor]:
        while True:
            self._admit()
            while self._open and self._open[0].left == 0:
                yield self._open.popleft().adv_inputs
            stage = self._next_stage()
            if stage is not None:
                self._step(stage)
            elif self._exhausted:
                return

    def _admit(self) -> None:
        """Read batches while no later stage is full and the first has less than a batch more than it needs."""
        first, *later = self._stages
        while (
            not self._exhausted
            and len(self._open) < self._most_open
            and first.ready < 2 * self._memory.most
            and all(stage.ready < self._memory.most for stage in later)
        ):
            batch = next(self._batches, None)
            if batch is None:
                self._exhausted = True
                return
            opened = _Open(batch, batch.inputs.clone(), len(batch.seeds))
            self._open.append(opened)
            first.search.prefetch(batch)
            first.waiting.extend(_Sample(opened, row) for row in range(opened.left))

    def _full_stage(self) -> _Stage | None:
        """The latest stage with enough samples for a full batch, so that samples leave soon."""
        return next((stage for stage in reversed(self._stages) if stage.ready >= self._memory.most), None)

    def _next_stage(self) -> _Stage | None:
        """A stage with a full batch or, without one, the earliest, which fills the others."""
        return self._full_stage() or next((stage for stage in self._stages if stage.ready), None)

    @torch.no_grad()
    def _step(self, stage: _Stage) -> None:
        self._fill(stage)
        step = self._advance(stage)
        broken = step.broken.tolist()  # the one wait for the device
        stays: list[int] = []
        ends: list[int] = []
        for row, sample in enumerate(stage.active):
            sample.steps += 1
            if not broken[row]:
                (ends if sample.steps == self._limit(stage, sample) else stays).append(row)
        self._finish(stage.active, [row for row, flag in enumerate(broken) if flag], lambda: step.points)
        self._end_attempts(stage, step.rows, ends)
        if len(stays) < len(stage.active):
            stage.rows = _selected(step.rows, stays) if stays else None
            stage.active = [stage.active[row] for row in stays]
        else:
            stage.rows = step.rows

    def _fill(self, stage: _Stage) -> None:
        while True:
            try:
                return stage.fill(self._memory.most)
            except torch.OutOfMemoryError:
                if self._memory.most == 1:
                    raise
            self._memory.halve(self._memory.most)

    def _advance(self, stage: _Stage) -> Step[Any]:
        """Make a step, on half of the samples if memory runs out. Nothing is lost: a step changes nothing in place."""
        while True:
            try:
                return stage.search.advance(self._model, stage.rows, [sample.steps for sample in stage.active])
            except torch.OutOfMemoryError:
                if len(stage.active) == 1:
                    raise
            self._memory.halve(len(stage.active))
            stage.put_aside(self._memory.most)

    def _limit(self, stage: _Stage, sample: _Sample) -> int:
        """Number of steps of the sample's attempt."""
        another = stage is not self._stages[-1] or sample.attempt + 1 < stage.search.attempts
        return stage.search.steps + int(stage.search.open_end and another)

    def _end_attempts(self, stage: _Stage, rows: Rows, ends: list[int]) -> None:
        """Let samples whose attempt has ended make the next one, or finish them after the last."""
        following = self._stages[self._stages.index(stage) + 1 :]
        finished, again = [], []
        for row in ends:
            sample = stage.active[row]
            if sample.attempt + 1 < stage.search.attempts:
                again.append(_Sample(sample.origin, sample.row, sample.attempt + 1))
            elif following:
                following[0].waiting.append(_Sample(sample.origin, sample.row))
            else:
                finished.append(row)
        stage.waiting.extendleft(reversed(again))
        self._finish(stage.active, finished, lambda: stage.search.last(rows))

    def _finish(self, samples: list[_Sample], rows: list[int], points: Callable[[], Tensor]) -> None:
        """Record the `points` at those rows as the results of their samples."""
        if not rows:
            return
        found = points()
        for origin, group in groupby(sorted(rows, key=lambda row: id(samples[row].origin)), _origin_of(samples)):
            chosen = list(group)
            source = upload_indices(chosen, found.device)
            target = upload_indices([samples[row].row for row in chosen], found.device)
            origin.adv_inputs.index_copy_(0, target, found.index_select(0, source))
            origin.left -= len(chosen)


def _origin_of(samples: list[_Sample]) -> Callable[[int], _Open]:
    return lambda row: samples[row].origin


def _selected(rows: Rows, stays: list[int]) -> Rows:
    return rows.select(upload_indices(stays, rows.device))


def _batch_of(samples: list[_Sample]) -> Batch:
    """Return the clean inputs of `samples`, with all else that a search needs to begin."""
    parts = [
        origin.batch.select([sample.row for sample in group])
        for origin, group in groupby(samples, lambda sample: sample.origin)
    ]
    joined: Batch = parts[0]
    for part in parts[1:]:
        joined = joined.join(part)
    return joined
