"""An attack on whole batches, tried on a few: each ends after the attempt that breaks it entirely, if one does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from stein_bench.attacks.native import Searches
from stein_bench.attacks.passes import Bounds, Passes
from stein_bench.attacks.search import Search
from stein_bench.evaluation.costs.course import Steps
from stein_bench.evaluation.costs.recorder import CutShort, Deadline, Known, Recorder
from stein_bench.evaluation.costs.results import CONFIDENCE, Estimate
from stein_bench.evaluation.costs.tries import Tried, run_attack, spread, timed_steps


@dataclass(frozen=True)
class _Attempt:
    """One attempt of an attack on a whole batch.

    Attributes:
        passes: per sample, the look at its result included.
        seconds: on a batch.
    """

    passes: Passes
    seconds: float


def estimate_of_whole_batches(tried: Tried, searches: Searches, limits: Bounds, seconds: float) -> Estimate:
    """Whole batches end after the attempt that breaks them entirely, if one does."""
    setting = tried.evaluated.setting
    size, batches = min(setting.batch_size, len(setting.samples)), setting.batch_count
    steps = timed_steps(tried, searches, size, math.inf)
    attempts = _attempts(tried, searches, steps, size)
    aiming = tried.call.eot if searches.targets else 0
    deadline, found = Deadline(seconds), list[Ended]()
    for number in spread(batches):
        positions = list(range(number * size, min((number + 1) * size, len(setting.samples))))
        found.append(_attempts_made(tried, positions, attempts, aiming, deadline))
        if deadline.over or found[-1].cut:
            break
    reached = reached_attempts(found, len(attempts))
    aim, passes = tried.forward.at(size) * aiming, Passes(aiming, 0)
    for share, attempt in zip(reached, attempts, strict=True):
        passes = passes.plus(attempt.passes, share)
    times = [one.seconds for one in attempts]
    mean = aim + sum(share * one for share, one in zip(reached, times, strict=True))
    ended = [one.attempts for one in found if not one.cut]
    chance = CONFIDENCE * _deviation([sum(times[:count]) for count in ended]) if ended else 0.0
    # What the last batch, which was cut short, would have done is open; so is whether others go farther than these.
    first = aim + sum(times[: max(found[-1].attempts, 1)]) if found[-1].cut and not ended else mean
    missed = (1 - 0.1 ** (1 / len(ended))) * (1 - len(ended) / batches) if ended else 1.0
    most = mean + missed * max(aim + sum(times) - mean, 0.0)
    return Estimate(
        mean * batches, math.hypot(max(mean - first, 0.0), chance) * batches, math.hypot(most - mean, chance) * batches,
        limits, passes, len(found) * size,
    )  # fmt: skip


def reached_attempts(found: Sequence[Ended], count: int) -> list[float]:
    """Return the share of the batches that make each of `count` attempts.

    Of the batches that made an attempt, those count that were not cut short in it; beyond, all that are left go on.
    """
    shares, left = [], 1.0
    for number in range(count):
        shares.append(left)
        made = [one for one in found if one.attempts > number + 1 or (one.attempts == number + 1 and not one.cut)]
        ended = sum(one.attempts == number + 1 and one.broken for one in made)
        left *= 1 - ended / len(made) if made else 1.0
    return shares


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


class Ended(NamedTuple):
    """How a batch that was tried has ended.

    Attributes:
        attempts: number of attempts, that in which it was cut short included.
        broken: whether the last one broke all its samples.
        cut: whether time was over before it was known how it ends.
    """

    attempts: int
    broken: bool = False
    cut: bool = False


def _attempts_made(
    tried: Tried, positions: list[int], attempts: list[_Attempt], aiming: int, deadline: Deadline
) -> Ended:
    """Attack a batch until it is broken entirely, or time is over."""
    batch, task = tried.batch(positions), tried.call.task

    def broken(outputs: Tensor) -> bool:
        return len(outputs) == len(batch.labels) and not bool(task.correct(outputs, batch.labels).any())

    recorder, known, cut = Recorder(tried.model, deadline, broken), False, False
    try:
        run_attack(tried, recorder, positions)
    except CutShort:
        cut = True
    except Known:
        known = True
    passes, made = float(aiming * len(positions)), 0
    for attempt in attempts:
        passes, made = passes + attempt.passes.forward * len(positions), made + 1
        if recorder.forward_passes <= passes:
            break
    return Ended(made, known, cut)


def _deviation(values: list[float]) -> float:
    """Return the standard error of the mean."""
    mean, count = sum(values) / len(values), len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / max(count - 1, 1) / count)
