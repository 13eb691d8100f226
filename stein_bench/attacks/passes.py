"""How many passes an attack makes on a sample at least and at most, known before it runs.

Passes are counted as the report counts them: in samples that go through the attacked model, forwards and backwards. A
model that hides its gradients is spared backward passes, of which the bounds know nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from stein_bench.attacks.attack import Attack
from stein_bench.attacks.call import Call
from stein_bench.attacks.native import NATIVE_ATTACKS, Direct
from stein_bench.attacks.random_search import COMPARED, SETTLED
from stein_bench.attacks.search import Search
from stein_bench.attacks.through import Strategy
from stein_bench.attacks.torchattacks_library import library_defaults
from stein_bench.tasks import Task


class Passes(NamedTuple):
    """Numbers of passes; those of one sample unless said otherwise."""

    forward: float
    backward: float

    def plus(self, other: tuple[float, float], times: float = 1) -> Passes:
        """Return these and `times` the others."""
        return Passes(self.forward + times * other[0], self.backward + times * other[1])

    @property
    def total(self) -> float:
        """Forward and backward passes together."""
        return self.forward + self.backward


NONE = Passes(0, 0)


class Bounds(NamedTuple):
    """The fewest and the most passes per sample."""

    least: Passes
    most: Passes


class Situation(NamedTuple):
    """What the passes of an attack depend on, apart from the attack.

    Attributes:
        task: the run's task.
        classes: number of the model's outputs.
        shape: shape of one sample.
        batch_dependent: whether whole batches are attacked (batch statistics).
        random: whether the attacked model is random: then no search ends at its first success.
        strategy: of the adaptive attack; None if it is not known yet, which is taken as the model's own gradients.
    """

    task: Task
    classes: int
    shape: Sequence[int]
    batch_dependent: bool = False
    random: bool = False
    strategy: Strategy | None = None


def bounds(attack: Attack, situation: Situation) -> Bounds | None:
    """Return the passes per sample at least and at most; None for attacks of others that are not known here.

    Under batch statistics a batch ends early only as a whole; its samples all have the same number.
    """
    if attack.info.is_corruption:
        return _exactly(Passes(attack.draws, 0))
    if attack.info.own is not None:
        return None
    if attack.info.backend == "torchattacks":
        return _of_library(attack)
    call = call_of(attack, situation)
    aiming = NONE.plus((call.eot, 0))
    dense = situation.task.name == "segmentation"
    found = NATIVE_ATTACKS[attack.info.method](call)
    if isinstance(found, Direct):
        return _exactly(_of_direct(attack, call).plus((1, 0), int(dense)))
    start = aiming if found.targets else NONE
    if call.batch_dependent:
        return _of_whole_batches(found.searches, start.plus((1, 0), int(dense)))
    if call.random:
        return _of_random(found.searches, start, call.eot)
    most = sum_of((one for steps in steps_of(found.searches) for one in steps.passes), start)
    return Bounds(start.plus(found.searches[0].passes(0)), most)


def call_of(attack: Attack, situation: Situation, model: nn.Module | None = None) -> Call:
    """Return what a native attack is run with; without a `model` its passes can be told, but it cannot be run."""
    whole = situation.batch_dependent or situation.task.name == "segmentation"
    attacked = nn.Identity() if model is None else model
    call = attack.native_call(attacked, situation.task, situation.classes, situation.shape, whole, situation.strategy)
    return replace(call, random=situation.random)


def steps_of(searches: Sequence[Search[Any]]) -> Iterator[Steps]:
    """Yield the steps of a sample that survives all searches, attempt by attempt.

    An attempt at an open end has one step more, unless it is the last: see `Search.open_end`.
    """
    attempts = [(number, attempt) for number, search in enumerate(searches) for attempt in range(search.attempts)]
    for number, attempt in attempts:
        search = searches[number]
        extra = int(search.open_end and (number, attempt) != attempts[-1])
        yield Steps(number, attempt, tuple(Passes(*search.passes(step)) for step in range(search.steps + extra)))


class Steps(NamedTuple):
    """The steps of one attempt: the number of its search, its own number, and the passes of each step."""

    search: int
    attempt: int
    passes: tuple[Passes, ...]


def _exactly(passes: Passes) -> Bounds:
    return Bounds(passes, passes)


def _of_whole_batches(searches: Sequence[Search[Any]], start: Passes) -> Bounds:
    """A batch ends after the first attempt that breaks all its samples; several attempts are compared."""
    attempts = [search for search in searches for _ in range(search.attempts)]
    looks = (int(len(attempts) > 1), 0)
    most = start
    for search in attempts:
        most = most.plus(search.passes_of_whole()).plus(looks)
    return Bounds(start.plus(attempts[0].passes_of_whole()).plus(looks), most)


def _of_random(searches: Sequence[Search[Any]], start: Passes, eot: int) -> Bounds:
    """A sample ends after `SETTLED` wrong draws in a row, of searches that count them."""
    attempts = [search for search in searches for _ in range(search.attempts)]
    looks = (max(eot, COMPARED) * int(len(attempts) > 1), 0)
    least, most, settled = start, start, False
    for search in attempts:
        every = [search.passes(step) for step in range(search.steps)]
        most = sum_of(every, most).plus(looks)
        if settled:
            continue
        # Searches with balls beyond eps count the draws within eps only; at least these are needed.
        few = min(-(-SETTLED // eot), len(every)) if search.counts_draws else len(every)
        least, settled = sum_of(every[:few], least).plus(looks), search.counts_draws and few * eot >= SETTLED
    return Bounds(least, most)


def sum_of(every: Iterable[tuple[float, float]], start: Passes = NONE) -> Passes:
    """Return `start` and every one of the passes."""
    for one in every:
        start = start.plus(one)
    return start


def _of_direct(attack: Attack, call: Call) -> Passes:
    if attack.info.method == "fgsm":
        return Passes(call.eot, call.eot)
    steps = call.target_count(call.whole("targets")) * call.whole("steps")
    return Passes(call.eot + 2 * steps, steps)


STEPWISE = ("BIM", "RFGSM", "PGD", "PGDL2", "MIFGSM", "NIFGSM", "DIFGSM", "TIFGSM", "EOTPGD")
"""Attacks of torchattacks that make their steps on every sample, with one pass each way per step and draw."""


def _of_library(attack: Attack) -> Bounds | None:
    params = {**library_defaults(attack.info), **attack.params}
    name = attack.info.method.removeprefix("torchattacks.")
    if name in ("FGSM", "FFGSM"):
        return _exactly(Passes(1, 1))
    if name not in STEPWISE:
        return None
    passes = int(params["steps"]) * int(params.get("eot_iter", 1))
    return _exactly(Passes(passes, passes))
