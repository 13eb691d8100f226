"""From an attack tried on a few samples to what it costs on all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stein_bench.attacks.native import Searches
from stein_bench.attacks.passes import NONE, Bounds, Passes, bounds
from stein_bench.attacks.search import Search
from stein_bench.evaluation.costs.course import Steps, seconds_of
from stein_bench.evaluation.costs.lines import wait
from stein_bench.evaluation.costs.recorder import CutShort, Deadline, Known, Recorder
from stein_bench.evaluation.costs.results import CONFIDENCE
from stein_bench.evaluation.costs.tries import Tried, spread, survival, timed_steps
from stein_bench.guard import forked_rng, model_untouched

FEW = 8
"""Samples on which attacks are tried that are known by their calls alone. So few are one chunk."""
SHARE_FOR_STEPS = 0.4
"""Part of the time for trying an attack that goes to the timing of its steps."""


class Estimate(NamedTuple):
    """What an attack costs on all samples, apart from verification; fields are those of `PhaseCost`."""

    seconds: float
    below: float
    above: float
    bounds: Bounds | None
    expected: Passes
    tried: int
    at_least: bool = False


def estimate(tried: Tried, seconds: float) -> Estimate:
    """Try an attack for about so many seconds, and return what it costs."""
    searches, setting = tried.searches(), tried.evaluated.setting
    dense = setting.task.name == "segmentation"
    limits = bounds(tried.attack, tried.situation)
    if searches is None or dense or tried.evaluated.random or limits is None or limits.least == limits.most:
        return _by_calls(tried, limits, seconds)
    if tried.evaluated.batch_dependent:
        return _of_whole_batches(tried, searches, limits, seconds)
    return _of_samples(tried, searches, limits, seconds)


def _of_samples(tried: Tried, searches: Searches, limits: Bounds, seconds: float) -> Estimate:
    """Samples leave one by one: their survival and the times of steps give the time of a batch."""
    setting = tried.evaluated.setting
    count, size = len(setting.samples), min(setting.batch_size, len(setting.samples))
    steps = timed_steps(tried, searches, size, SHARE_FOR_STEPS * seconds)
    found = survival(tried, searches, Deadline(seconds))
    course = found.course
    refill = setting.refill and tried.evaluated.independent
    aiming = Passes(tried.call.eot if searches.targets else 0, 0)
    spent = tried.forward.at(count, count / size) * aiming.forward

    def cost(alive: object) -> float:
        return spent + seconds_of(course, alive, steps, count, size, refill=refill)  # type: ignore[arg-type]

    middle, (low, high) = found.alive(), found.bounds(count)
    taken, chance = cost(middle), CONFIDENCE * found.deviation(count)
    return Estimate(
        taken,
        math.hypot(taken - cost(low), chance * taken),
        math.hypot(cost(high) - taken, chance * taken),
        limits, course.passes(middle).plus(aiming), found.samples,
    )  # fmt: skip


@dataclass(frozen=True)
class _Attempt:
    """One attempt of an attack on a whole batch.

    Attributes:
        passes: per sample, the look at its result included.
        seconds: on a batch.
    """

    passes: Passes
    seconds: float


def _of_whole_batches(tried: Tried, searches: Searches, limits: Bounds, seconds: float) -> Estimate:
    """Whole batches end after the attempt that breaks them entirely, if one does."""
    setting = tried.evaluated.setting
    size, batches = min(setting.batch_size, len(setting.samples)), setting.batch_count
    steps = timed_steps(tried, searches, size, math.inf)
    attempts = _attempts(tried, searches, steps, size)
    aiming = tried.call.eot if searches.targets else 0
    deadline, made, cut = Deadline(seconds), list[int](), 0
    for number in spread(batches):
        first = number * size
        positions = list(range(first, min(first + size, len(setting.samples))))
        ended = _attempts_made(tried, positions, attempts, aiming, deadline)
        made.append(ended.attempts)
        cut += ended.cut
        if deadline.over or ended.cut:
            break
    aim = tried.forward.at(size) * aiming
    times = [aim + sum(one.seconds for one in attempts[:count]) for count in made]
    passes = [_summed(attempts[:count], aiming) for count in made]
    mean = sum(times) / len(times)
    left = 1 - len(made) / batches
    chance = CONFIDENCE * _deviation(times) * math.sqrt(left)
    lowest = aim + attempts[0].seconds
    low = mean - lowest if cut else 0.0
    every = aim + sum(one.seconds for one in attempts)
    missed = 0.0 if every in times else (1 - 0.1 ** (1 / len(made))) * left * (every - mean)
    middle = Passes(*(sum(values) / len(passes) for values in zip(*passes, strict=True)))
    return Estimate(
        mean * batches, math.hypot(low, chance) * batches, math.hypot(missed, chance) * batches, limits, middle,
        len(made) * size,
    )  # fmt: skip


def _attempts(tried: Tried, searches: Searches, steps: list[Steps], size: int) -> list[_Attempt]:
    several = sum(search.attempts for search in searches.searches) > 1
    look = Passes(int(several), 0)
    return [
        _Attempt(
            look.plus(search.passes_of_whole()),
            steps[number].begin.at(size) + _whole_seconds(tried, search, steps[number], size)
            + tried.forward.at(size) * look.forward,
        )
        for number, search in enumerate(searches.searches)
        for _ in range(search.attempts)
    ]  # fmt: skip


def _whole_seconds(tried: Tried, search: Search[object], steps: Steps, size: int) -> float:  # type: ignore[type-var]
    """Return the seconds of an attempt; passes that its steps do not make are timed as forward passes."""
    of_steps = sum(search.passes(number)[0] for number in range(search.steps))
    more = search.passes_of_whole()[0] - of_steps
    if more < 0:  # a look at the clean inputs that is not made
        return 0.0
    return steps.step.at(size) * search.steps + tried.forward.at(size) * more


class _Ended(NamedTuple):
    attempts: int
    cut: bool


def _attempts_made(
    tried: Tried, positions: list[int], attempts: list[_Attempt], aiming: int, deadline: Deadline
) -> _Ended:
    """Attack a batch until it is broken entirely, or time is over; then all attempts are assumed."""
    batch, task = tried.batch(positions), tried.call.task

    def broken(outputs: Tensor) -> bool:
        return len(outputs) == len(batch.labels) and not bool(task.correct(outputs, batch.labels).any())

    recorder = Recorder(tried.model, deadline, broken)
    passes = float(aiming * len(positions))
    try:
        _run(tried, recorder, positions)
    except CutShort:
        return _Ended(len(attempts), cut=True)
    except Known:
        pass
    for number, attempt in enumerate(attempts):
        passes += attempt.passes.forward * len(positions)
        if recorder.forward_passes <= passes:
            return _Ended(number + 1, cut=False)
    return _Ended(len(attempts), cut=False)


def _summed(attempts: list[_Attempt], aiming: int) -> Passes:
    total = Passes(aiming, 0)
    for attempt in attempts:
        total = total.plus(attempt.passes)
    return total


def _deviation(values: list[float]) -> float:
    """Return the standard error of the mean."""
    mean, count = sum(values) / len(values), len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / max(count - 1, 1) / count)


def _run(tried: Tried, model: torch.nn.Module, positions: list[int]) -> None:
    setting, batch = tried.evaluated.setting, tried.batch(positions)
    with forked_rng(setting.seed), model_untouched(model):
        tried.attack.find(
            model, batch.inputs, batch.labels, setting.task, classes=setting.classes, seeds=batch.seeds,
            batch_dependent=tried.evaluated.batch_dependent,
            strategy=tried.evaluated.strategies.get(tried.attack.label), random=tried.evaluated.random,
        )  # fmt: skip


def _by_calls(tried: Tried, limits: Bounds | None, seconds: float) -> Estimate:
    """The attack runs as it is, on a whole batch if its number of passes is known and that is quick, else on a few."""
    setting = tried.evaluated.setting
    count, size = len(setting.samples), min(setting.batch_size, len(setting.samples))
    exact = limits is not None and limits.least == limits.most
    few = min(FEW, size)
    on_all = tried.evaluated.batch_dependent or (exact and _predicted(tried, limits, size) < seconds)
    used = size if on_all else few
    recorder = Recorder(tried.model, Deadline(seconds))
    taken, cut = _timed(lambda: _run(tried, recorder, spread(count)[:used] if not on_all else list(range(used))), tried)
    made = Passes(recorder.forward_passes / used, recorder.backward_passes / used)
    expected, least, most = _completed(made, limits, recorder, used, cut=cut)
    per_sample = taken / max(made.total, 1e-9) / used  # per pass
    if used < size:
        # Larger batches spare calls: how much is told by the passes alone.
        per_sample *= (_pass(tried, made, size) / size) / (_pass(tried, made, used) / used)
    cost, lowest, highest = (per_sample * passes.total * count for passes in (expected, least, most))
    return Estimate(
        cost, cost - lowest, highest - cost, limits, expected, used, at_least=cut and limits is None,
    )  # fmt: skip


def _timed(compute: Callable[[], None], tried: Tried) -> tuple[float, bool]:
    started, cut = time.perf_counter(), False
    try:
        compute()
    except CutShort:
        cut = True
    wait(tried.evaluated.setting.device)
    return time.perf_counter() - started, cut


def _completed(
    made: Passes, limits: Bounds | None, recorder: Recorder, used: int, *, cut: bool
) -> tuple[Passes, Passes, Passes]:
    """Return the expected passes per sample, the least and the most, after `made` ones.

    Of an attack that was cut short, the samples of its last call are expected to go on to the end.
    """
    if not cut:
        return made, made, made
    if limits is None:
        return made, made, made
    if limits.least == limits.most:
        return limits.most, limits.most, limits.most
    alive = recorder.last / used
    rest = Passes(*(max(most - own, 0.0) for most, own in zip(limits.most, made, strict=True)))
    return made.plus(rest, alive), made, made.plus(rest)


def _pass(tried: Tried, made: Passes, samples: int) -> float:
    """Return the seconds of such passes on so many samples."""
    both = min(made.backward, made.forward)
    return tried.both.at(samples) * both + tried.forward.at(samples) * max(made.forward - both, 0.0) or 1e-9


def _predicted(tried: Tried, limits: Bounds | None, size: int) -> float:
    return math.inf if limits is None else _pass(tried, limits.most if limits else NONE, size)
