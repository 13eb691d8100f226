"""An attack tried on a few samples: how many passes they take, and how long its steps are."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.call import Call
from stein_bench.attacks.native import NATIVE_ATTACKS, Searches
from stein_bench.attacks.passes import Situation, call_of
from stein_bench.attacks.refill import Taken, refill
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.evaluation.batches import Evaluated
from stein_bench.evaluation.costs.course import Course, Numbers, Steps, Survival
from stein_bench.evaluation.costs.lines import NOTHING, Line, line_through, wait
from stein_bench.evaluation.costs.recorder import CutShort, Deadline
from stein_bench.evaluation.time_limit import limited
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.memory import MemoryLimit

FIRST = 32
"""Samples that an attack is tried on first; more as long as there is time."""
MOST_AT_ONCE = 256
ENOUGH = 0.04
"""Relative standard error of the passes at which no more samples are tried."""
MISSED = 0.1
"""Nor as long as survivors that were not seen could add more than this share to the passes."""
SMALL = 4
"""Samples of the small batches whose steps are timed."""
STEPS = 3
"""Steps that are timed."""


def spread(count: int) -> list[int]:
    """Return all positions below `count` in an order whose beginnings are spread evenly over the data.

    >>> spread(8)
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max((count - 1).bit_length(), 1)
    order = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [position for position in order if position < count]


@dataclass(frozen=True)
class Tried:
    """An attack on one variant, as it is tried.

    Attributes:
        evaluated: the variant.
        attack: the attack.
        model: the network that it attacks.
        forward, both: seconds of a forward pass, and of a forward and a backward pass, on so many samples.
    """

    evaluated: Evaluated
    attack: Attack
    model: nn.Module
    forward: Line
    both: Line

    @property
    def situation(self) -> Situation:
        """What its passes depend on."""
        setting = self.evaluated.setting
        strategy = self.evaluated.strategies.get(self.attack.label)
        return Situation(
            setting.task, setting.classes, setting.samples.shape, self.evaluated.batch_dependent,
            self.evaluated.random, strategy,
        )  # fmt: skip

    @property
    def call(self) -> Call:
        """What it is run with."""
        return call_of(self.attack, self.situation, self.model)

    def searches(self) -> Searches | None:
        """Return its searches; None if it is no native attack made of them."""
        if self.attack.info.backend != "native" or self.attack.info.is_corruption:
            return None
        found = NATIVE_ATTACKS[self.attack.info.method](self.call)
        return found if isinstance(found, Searches) else None

    def batch(self, positions: Sequence[int]) -> Batch:
        """Return the samples at those positions, with the seeds of the run."""
        setting = self.evaluated.setting
        inputs, labels = (part.to(setting.device) for part in setting.samples.batch(positions))
        ids = [setting.samples.ids[position] for position in positions]
        return Batch.untargeted(inputs, labels, attack_seeds(setting.seed, self.attack, ids))


def survival(tried: Tried, searches: Searches, deadline: Deadline) -> Survival:
    """Attack samples one set after the other, each larger than all before, until enough is known or time is over."""
    course, setting = Course.of(searches.searches), tried.evaluated.setting
    found, order, count = Survival(course), spread(len(setting.samples)), FIRST
    while found.samples < len(order):
        positions = order[found.samples : found.samples + count]
        alive, reached = _attacked(tried, course, positions, deadline)
        found.add(len(positions), alive, reached)
        if found.cut or deadline.over or (found.samples > FIRST and _enough(found, len(order))):
            break
        count = min(found.samples, MOST_AT_ONCE)
    return found


def _enough(found: Survival, of: int) -> bool:
    course = found.course
    (low, high), passes = found.bounds(of), course.passes(found.alive()).total
    return found.deviation(of) < ENOUGH and course.passes(high - low).total < MISSED * passes


def _attacked(tried: Tried, course: Course, positions: Sequence[int], deadline: Deadline) -> tuple[Numbers, int]:
    """Return how many of the samples made each step, and the number of steps until time was over, if it was."""
    alive, last = np.zeros(len(course)), 0
    setting = tried.evaluated.setting

    def watch(taken: Taken) -> None:
        nonlocal last
        last = course.position(taken)
        alive[last] += taken.samples
        deadline.check()

    try:
        with model_untouched(tried.model):
            for _ in tried.attack.run_refilled(
                tried.model, [tried.batch(positions)], setting.task, classes=setting.classes,
                shape=setting.samples.shape, memory=MemoryLimit(len(positions)),
                strategy=tried.evaluated.strategies.get(tried.attack.label), watch=watch,
            ):  # fmt: skip
                pass
    except CutShort:
        return alive, last + 1
    return alive, len(course)


@dataclass(frozen=True)
class _Endless(Search[Any]):
    """A search that no sample leaves early, whose steps can be timed with a constant number of samples."""

    search: Search[Any]

    @property
    def steps(self) -> int:  # type: ignore[override]
        return self.search.steps

    attempts: int = 1

    def begin(self, batch: Batch, attempts: Sequence[int]) -> Rows:
        rows: Rows = self.search.begin(batch, attempts)
        return rows

    def advance(self, model: Any, rows: Any, numbers: Sequence[int]) -> Step[Any]:
        step = self.search.advance(model, rows, numbers)
        return step._replace(broken=torch.zeros_like(step.broken))

    def last(self, rows: Any) -> Tensor:
        return self.search.last(rows)


def timed_steps(tried: Tried, searches: Searches, size: int, most_seconds: float) -> list[Steps]:
    """Time the first steps of every search on a small batch and, where that is quick, on one of `size`.

    Large batches whose steps take long are not tried: there hardly anything but the passes counts, and what a step
    takes beyond them is taken as proportional to them.
    """
    whole = tried.evaluated.batch_dependent
    sizes = [size] if whole else sorted({min(SMALL, size), size})
    found = []
    for number, search in enumerate(searches.searches):
        passes = search.passes(0)
        model = tried.both.times(max(passes[1], 0)).plus(tried.forward.times(max(passes[0] - passes[1], 0)))
        slow = model.at(size) * (STEPS + 1) * len(searches.searches) > most_seconds
        tasted = [(one, *_tasted(tried, searches, number, one)) for one in (sizes[:1] if slow and not whole else sizes)]
        step = line_through([(one, seconds) for one, seconds, _ in tasted])
        begin = line_through([(one, seconds) for one, _, seconds in tasted])
        if len(tasted) < len(sizes):
            small, seconds, _ = tasted[0]
            step = model.times(max(seconds / model.at(small), 1.0))
        found.append(Steps(step, begin if begin.at(size) > 0 else NOTHING))
    return found


def _tasted(tried: Tried, searches: Searches, number: int, size: int) -> tuple[float, float]:
    """Return the seconds of a step of one search on so many samples, and of beginning it."""
    device, limit, call = tried.evaluated.setting.device, MemoryLimit(size), tried.call
    batch = searches.aimed(call, tried.batch(spread(len(tried.evaluated.setting.samples))[:size]), limit)
    times = [time.perf_counter()]

    def watch(_: Taken) -> None:
        wait(device)
        times.append(time.perf_counter())
        if len(times) > STEPS + 1:
            raise CutShort

    with model_untouched(tried.model):
        try:
            times[0] = time.perf_counter()
            for _ in refill(call.model, [_Endless(searches.searches[number])], [batch], limit, watch=watch):
                pass
        except CutShort:
            pass
    first, *others = np.diff(times).tolist()
    step = statistics.median(others) if others else first
    return step, max(first - step, 0.0)


def run_attack(tried: Tried, model: nn.Module, positions: Sequence[int]) -> None:
    """Run the whole attack on these samples, on `model` in place of the network that it attacks."""
    setting, batch = tried.evaluated.setting, tried.batch(positions)
    find = partial(
        tried.attack.find, model, batch.inputs, batch.labels, setting.task, classes=setting.classes,
        seeds=batch.seeds, batch_dependent=tried.evaluated.batch_dependent,
        strategy=tried.evaluated.strategies.get(tried.attack.label), random=tried.evaluated.random,
    )  # fmt: skip
    with forked_rng(setting.seed), model_untouched(model):
        limited(setting.time_limit, find)
