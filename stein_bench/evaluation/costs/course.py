"""The course of an attack on a sample: its steps in turn, how many samples get how far, and how long a run takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stein_bench.attacks.passes import Passes, steps_of
from stein_bench.attacks.refill import Taken
from stein_bench.attacks.search import Search
from stein_bench.evaluation.costs.lines import Line

Numbers = NDArray[np.float64]
SLOWER = 0.5
"""Samples whose search was cut short are taken to fall later on at this share of the rate seen last."""
LATE = 0.5
"""That rate is of this last part of what was tried."""


@dataclass(frozen=True)
class Course:
    """The steps of a sample that survives all searches, one after the other.

    Attributes:
        forward, backward: passes of each step, (P,).
        search: number of the search that each belongs to, (P,).
        begins: which steps are the first of an attempt, (P,).
        places: positions of the first step of each attempt, by number of search and attempt.
        admitted: share of the samples that each step is made on, (P,): below 1 in searches on a random subset.
    """

    forward: Numbers
    backward: Numbers
    search: NDArray[np.int64]
    begins: NDArray[np.bool_]
    places: Mapping[tuple[int, int], int]
    admitted: Numbers

    @classmethod
    def of(cls, searches: Sequence[Search[Any]]) -> Course:
        """Return the course of these searches."""
        each = list(steps_of(searches))
        lengths = [len(one.passes) for one in each]
        firsts = np.cumsum([0, *lengths])[:-1]
        begins = np.zeros(sum(lengths), np.bool_)
        begins[firsts] = True
        passes = np.array([tuple(step) for one in each for step in one.passes], np.float64)
        search = np.repeat([one.search for one in each], lengths)
        share = [float(getattr(one, "drawn", 1.0)) if one.sampled else 1.0 for one in searches]
        return cls(
            passes[:, 0], passes[:, 1], search, begins,
            {(one.search, one.attempt): int(first) for one, first in zip(each, firsts, strict=True)},
            np.array(share)[search],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.forward)

    def passes(self, alive: Numbers) -> Passes:
        """Return the expected passes per sample, if these shares make each step."""
        return Passes(float(alive @ self.forward), float(alive @ self.backward))

    def position(self, taken: Taken) -> int:
        """Return the position of a step that was made."""
        return self.places[taken.search, taken.attempt] + taken.steps


@dataclass
class Survival:
    """How far the samples got that the attack was tried on.

    Attributes:
        course: the attack's steps.
        samples: their number.
        cut: the number of those whose search was cut short.
    """

    course: Course
    samples: int = 0
    cut: int = 0
    _at_risk: Numbers = field(default_factory=lambda: np.zeros(0))
    _fell: Numbers = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        self._at_risk, self._fell = np.zeros(len(self.course)), np.zeros(len(self.course))

    def add(self, count: int, alive: Numbers, reached: int) -> None:
        """Add `count` samples that were attacked together.

        Args:
            count: their number.
            alive: how many of them made each step, (P,); steps on a random subset are left out of account.
            reached: number of steps until the search was cut short; P if it was not.
        """
        whole = self.course.admitted == 1
        made = np.where(whole, alive, np.nan)
        # A sample that does not make the next step has fallen in this one.
        following = np.append(made[1:], np.nan)
        fell = np.nan_to_num(made - following).clip(0)
        fell[reached - 1 if reached else 0 :] = 0
        self._at_risk[:reached] += np.nan_to_num(made[:reached])
        self._fell += np.where(self._at_risk > 0, fell, 0)
        self.samples += count
        if reached < len(self.course):
            self.cut += round(float(np.nan_to_num(made[max(reached - 1, 0)])))

    def alive(self, rate: float = SLOWER) -> Numbers:
        """Return the share of the samples that make each step, (P,): the product of the shares that go on.

        Beyond where all searches were cut short, samples fall at `rate` times that of the last part of what was seen.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            falls = np.where(self._at_risk > 0, self._fell / self._at_risk, 0.0)
        seen = int((self._at_risk > 0).sum())
        if self.cut and seen < len(self.course):
            late = slice(int(LATE * seen), seen)
            exposed, fell = float(self._at_risk[late].sum()), float(self._fell[late].sum())
            if rate > 1:  # the next one might have fallen
                fell = max(fell, 1.0)
            falls[seen:] = min(rate * fell / exposed, 1.0) if exposed else 0.0
        share = np.append(1.0, np.cumprod(1 - falls)[:-1])
        made: Numbers = share * self.course.admitted
        return made

    def bounds(self, of: int) -> tuple[Numbers, Numbers]:
        """Return what `alive` may be, apart from the chance of which samples were tried: the least and the most.

        Searches that were cut short may fall faster or no more. If none of the samples survived, a few of the larger
        set `of` samples still may: so many that they are missed with a probability of 10 %.
        """
        if self.cut:
            return self.alive(1 / SLOWER), self.alive(0.0)
        found, whole = self.alive(), self.course.admitted == 1
        if found[whole][-1] > 0 or self.samples >= of:
            return found, found
        share = (1 - 0.1 ** (1 / max(self.samples, 1))) * (1 - self.samples / of)
        return found, np.maximum(found, share * self.course.admitted)

    def deviation(self, of: int) -> float:
        """Return the relative standard error of the passes, of samples drawn at random from `of`."""
        alive, cost = self.alive(), self.course.forward + self.course.backward
        spent, ends = np.cumsum(cost), -np.diff(np.append(alive, 0.0)).clip(None, 0)
        total = float(ends.sum()) or 1.0
        mean = float(ends @ spent) / total
        variance = float(ends @ (spent - mean) ** 2) / total
        left = max(1 - self.samples / max(of, 1), 0.0)
        return math.sqrt(variance / max(self.samples, 1) * left) / max(mean, 1e-9)


class Steps(NamedTuple):
    """Seconds of the steps of one search: of a step, and of beginning an attempt."""

    step: Line
    begin: Line


def seconds_of(
    course: Course, alive: Numbers, steps: Sequence[Steps], samples: int, size: int, *, refill: bool
) -> float:
    """Return the seconds of an attack on so many `samples` in batches of `size`.

    A batch makes a step as long as one of its samples is left, with those that are left. With `refill` the samples of
    other batches take the places of those that are finished, so that batches are full.

    Args:
        course: the attack's steps.
        alive: the share of the samples that make each, (P,).
        steps: seconds by number of the search.
        samples, size, refill: the run.
    """
    size = min(size, samples)
    batches = samples / size
    calls = batches * (alive if refill else 1 - (1 - alive.clip(0, 1)) ** size)
    rows = samples * alive
    call, sample = (np.array([getattr(one.step, name) for one in steps])[course.search] for name in ("call", "sample"))
    total = float(call @ calls + sample @ rows)
    first = course.begins
    call, sample = (np.array([getattr(one.begin, name) for one in steps])[course.search] for name in ("call", "sample"))
    return total + float(call[first] @ calls[first] + sample[first] @ rows[first])
