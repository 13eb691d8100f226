"""From an attack tried on a few samples to what it costs on all."""

from __future__ import annotations

import math

from stein_bench.attacks.native import Searches
from stein_bench.attacks.passes import Bounds, Passes, bounds
from stein_bench.evaluation.costs.by_calls import estimate_by_calls
from stein_bench.evaluation.costs.course import Numbers, seconds_of
from stein_bench.evaluation.costs.recorder import Deadline
from stein_bench.evaluation.costs.results import CONFIDENCE, Estimate
from stein_bench.evaluation.costs.tries import Tried, survival, timed_steps
from stein_bench.evaluation.costs.whole_batches import estimate_of_whole_batches

SHARE_FOR_STEPS = 0.4
"""Part of the time for trying an attack that goes to the timing of its steps."""


def estimate(tried: Tried, seconds: float) -> Estimate:
    """Try an attack for about so many seconds, and return what it costs."""
    searches, setting = tried.searches(), tried.evaluated.setting
    dense = setting.task.name == "segmentation"
    limits = bounds(tried.attack, tried.situation)
    if searches is None or dense or tried.evaluated.random or limits is None or limits.least == limits.most:
        return estimate_by_calls(tried, limits, seconds)
    if tried.evaluated.batch_dependent:
        return estimate_of_whole_batches(tried, searches, limits, seconds)
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

    def cost(alive: Numbers) -> float:
        return spent + seconds_of(course, alive, steps, count, size, refill=refill)

    middle, (low, high) = found.alive(), found.bounds(count)
    taken, chance = cost(middle), CONFIDENCE * found.deviation(count)
    return Estimate(
        taken,
        math.hypot(taken - cost(low), chance * taken),
        math.hypot(cost(high) - taken, chance * taken),
        limits, course.passes(middle).plus(aiming), found.samples,
    )  # fmt: skip
