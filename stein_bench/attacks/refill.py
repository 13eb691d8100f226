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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stein_bench.attacks.losses import Model
from stein_bench.attacks.search import Batch, Rows, Search
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
    watch: Watch | None = None,
) -> Iterator[Found]:
    """Yield the adversarial inputs of each of the `batches`, in order.

    Every sample goes through the attempts of the `searches` in turn until one breaks it. A sample that survives all
    gets the point at which the last one ended, which is not necessarily evaluated: the caller verifies all.

    Args:
        model: maps [0, 1] to logits; predictions must not depend on the batch.
        searches: at least one.
        batches: samples, read as room becomes free.
        memory: most samples per step.
        open_batches: most batches in work at a time.
        watch: is told of every step; an exception of its own ends the searches.

    Raises:
        torch.OutOfMemoryError: a step on a single sample does not fit, or `memory` is fixed.
    """
    yield from _Flow(model, searches, iter(batches), memory, open_batches, watch).results()


def run_search(search: Search[Any], model: Model, batch: Batch, *, batch_dependent: bool) -> Tensor:
    """Return the adversarial inputs that one search finds for one batch.

    `batch_dependent`: whether a prediction depends on the other samples of the batch; then the first attempt counts.
    """
    if batch_dependent:
        return search.whole(model, batch, 0)
    return next(refill(model, [search], [batch], MemoryLimit(len(batch.seeds), fixed=True))).adv_inputs


class Taken(NamedTuple):
    """A step that has been made.

    Attributes:
        search: its number, from 0.
        attempt, steps: the number of the first sample's attempt, and of its steps before this one; within one batch
            of the data they are those of all.
        samples: the number of samples that made it.
    """

    search: int
    attempt: int
    steps: int
    samples: int


Watch = Callable[[Taken], None]
"""Is told of every step."""


class Found(NamedTuple):
    """The adversarial inputs of a batch, and how they were found.

    Attributes:
        adv_inputs: (n, C, …).
        forward_passes, backward_passes: what the searches needed, in samples; 0 if whoever runs them counts.
        drawn: which samples ended in the search that is made on some at random (`Search.sampled`), so survived all
            before it; None if there is no such search.
        ended: number of the search, from 0, in which each sample ended; None without searches.
    """

    adv_inputs: Tensor
    forward_passes: int = 0
    backward_passes: int = 0
    drawn: list[bool] | None = None
    ended: list[int] | None = None


@dataclass(eq=False)
class _Open:
    """A batch of the data in work."""

    batch: Batch
    adv_inputs: Tensor
    left: int
    ended: list[int]
    forward_passes: int = 0
    backward_passes: int = 0


def _opened(batch: Batch) -> _Open:
    count = len(batch.seeds)
    try:
        return _Open(batch, batch.inputs.clone(), count, [0] * count)
    except torch.OutOfMemoryError:
        pass
    torch.cuda.empty_cache()
    return _Open(batch, batch.inputs.clone(), count, [0] * count)


@dataclass(eq=False)
class _Sample:
    """One sample in work: where it is from, the number of its attempt, and the steps of that behind it."""

    origin: _Open
    row: int
    attempt: int = 0
    steps: int = 0

    @property
    def seed(self) -> int:
        return self.origin.batch.seeds[self.row]


@dataclass(eq=False)
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
        watch: Watch | None,
    ) -> None:
        self._watch = watch
        self._model, self._batches = model, batches
        self._stages = [_Stage(search) for search in searches]
        self._memory, self._most_open = memory, open_batches
        self._open: deque[_Open] = deque()
        self._exhausted = False
        self._sampled = [search.sampled for search in searches]

    def results(self) -> Iterator[Found]:
        while True:
            self._admit()
            while self._open and self._open[0].left == 0:
                done = self._open.popleft()
                drawn = [self._sampled[number] for number in done.ended] if any(self._sampled) else None
                yield Found(done.adv_inputs, done.forward_passes, done.backward_passes, drawn, done.ended)
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
            opened = _opened(batch)
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
        """Make a step, on fewer samples if memory runs out: up to then nothing has changed but who is active."""
        while True:
            try:
                stage.fill(self._memory.most)
                step = self._computed(stage)
                break
            except torch.OutOfMemoryError:
                tried = len(stage.active) or self._memory.most
                if not self._memory.can_halve(tried):
                    raise
            # After the handler, because the exception keeps the tensors of the failed step alive.
            self._memory.halve(tried)
            if len(stage.active) > self._memory.most:
                stage.put_aside(self._memory.most)
        if self._watch is not None:
            first = stage.active[0]
            taken = Taken(self._stages.index(stage), first.attempt, first.steps, len(stage.active))
            self._record(stage, step)
            self._watch(taken)
            return
        self._record(stage, step)

    def _computed(self, stage: _Stage) -> _Outcome:
        step = stage.search.advance(self._model, stage.rows, [sample.steps for sample in stage.active])
        flags = step.broken.tolist()  # the one wait for the device
        broken = [row for row, flag in enumerate(flags) if flag]
        ends = [
            row
            for row, sample in enumerate(stage.active)
            if not flags[row] and sample.steps + 1 == self._limit(stage, sample)
        ]
        stays = sorted(set(range(len(flags))) - {*broken, *ends})
        finished = [row for row in ends if self._is_last(stage, stage.active[row])]
        found = _results(stage.active, broken, step.points) if broken else []
        if finished:
            found += _results(stage.active, finished, stage.search.last(step.rows))
        rows = step.rows if len(stays) == len(flags) else _selected(step.rows, stays) if stays else None
        return _Outcome(found, [row for row in ends if row not in finished], stays, rows)

    def _record(self, stage: _Stage, step: _Outcome) -> None:
        for sample in stage.active:
            forward, backward = stage.search.passes(sample.steps)
            sample.origin.forward_passes += forward
            sample.origin.backward_passes += backward
            sample.steps += 1
        for origin, target, points in step.found:
            origin.adv_inputs.index_copy_(0, target, points)
            origin.left -= len(points)
        number = self._stages.index(stage)
        for row in set(range(len(stage.active))) - {*step.stays, *step.again}:
            stage.active[row].origin.ended[stage.active[row].row] = number
        again = [stage.active[row] for row in step.again]
        repeated = [sample for sample in again if sample.attempt + 1 < stage.search.attempts]
        stage.waiting.extendleft(_Sample(old.origin, old.row, old.attempt + 1) for old in reversed(repeated))
        for sample in again:
            if sample not in repeated:
                self._following(stage, sample)[0].waiting.append(_Sample(sample.origin, sample.row))
        stage.active = [stage.active[row] for row in step.stays]
        stage.rows = step.rows

    def _following(self, stage: _Stage, sample: _Sample) -> list[_Stage]:
        """Return the stages that the sample can reach from this one."""
        return [later for later in self._stages[self._stages.index(stage) + 1 :] if later.search.admits(sample.seed)]

    def _is_last(self, stage: _Stage, sample: _Sample) -> bool:
        """Whether no attempt follows the sample's present one."""
        return sample.attempt + 1 == stage.search.attempts and not self._following(stage, sample)

    def _limit(self, stage: _Stage, sample: _Sample) -> int:
        """Number of steps of the sample's attempt."""
        return stage.search.steps + int(stage.search.open_end and not self._is_last(stage, sample))


@dataclass
class _Outcome:
    """What a step leads to: results, the rows of attempts that another one follows, the rows that stay, their state."""

    found: list[tuple[_Open, Tensor, Tensor]]
    again: list[int]
    stays: list[int]
    rows: Rows | None


def _results(samples: list[_Sample], rows: list[int], points: Tensor) -> list[tuple[_Open, Tensor, Tensor]]:
    """Return the `points` at those rows by batch, with the rows of that batch where they belong."""
    by_origin: dict[int, list[int]] = {}
    for row in rows:
        by_origin.setdefault(id(samples[row].origin), []).append(row)
    return [
        (
            samples[chosen[0]].origin,
            upload_indices([samples[row].row for row in chosen], points.device),
            points.index_select(0, upload_indices(chosen, points.device)),
        )
        for chosen in by_origin.values()
    ]


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
