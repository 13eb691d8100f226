"""The time that is left of a run, from what is finished: for the progress display.

Phases that have not begun are told by those of the same attack on another variant, else by the passes that their attack
makes at least and at most, and by the time of a pass so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stein_bench.attacks.attack import Attack, by_run
from stein_bench.attacks.passes import Bounds, Passes, Situation, bounds
from stein_bench.diagnostics.probe import probe_count
from stein_bench.evaluation.batches import Setting
from stein_bench.evaluation.replay import SINGLES
from stein_bench.evaluation.units import CLEAN, REPLAY, Unit, replay_phase
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.variants import Variant
from stein_bench.progress import Left

CHECKS = "checks"
"""The sanity checks of a variant, as a phase."""
PASSES_OF_CHECKS = Bounds(Passes(30, 12), Passes(61, 44))
"""Of the sanity checks per sample, about: if all samples break at once, and if none does or batches stay whole."""
HALF = 0.5
"""Share of the samples that have survived so far which are taken to survive the attacks to come."""
SLOWER, FASTER = 1.5, 0.7
"""Factors within which the time of a pass, or of the same attack on another variant, mostly stays."""
Key = tuple[str, str]
"""A variant's label and a phase."""


@dataclass
class _Seen:
    """What was seen of a phase: samples, seconds and passes."""

    samples: float = 0.0
    seconds: float = 0.0
    passes: float = 0.0

    def add(self, samples: float, seconds: float, passes: float) -> None:
        self.samples, self.seconds, self.passes = self.samples + samples, self.seconds + seconds, self.passes + passes


class Remaining:
    """Follows a run, and tells how long the rest of it takes.

    Args:
        plan, setting: what is evaluated; of the batches, those of this process.
        units: those of an interrupted run, which are not made again.
    """

    def __init__(self, plan: Plan, setting: Setting, units: Iterable[Unit] = ()) -> None:
        self._groups = by_run(plan.attacks)
        self._share = {variant.label: 1.0 for variant in plan.variants}  # of the samples, survivors so far
        self._own, self._all_samples = setting.own_samples, len(setting.samples)
        self._checked = probe_count(plan.samples.shape, dense=plan.samples.maps is not None)
        self._bounds = {
            (variant.label, group[0].label): _bounds(group[0], _situation(plan, setting, variant))
            for variant in plan.variants
            for group in self._groups
        }
        self._batch = min(setting.batch_size, max(self._own, 1))
        self._whole = {variant.label for variant in plan.variants if variant.stats == "batch"}
        self._left = {
            (variant.label, phase): self._samples_of(variant.label, phase)
            for number, variant in enumerate(plan.variants)
            for phase in _phases(variant, self._groups, checks=number % setting.ranks == setting.rank)
        }
        for unit in units:
            key, mine = (unit.variant, unit.phase), unit.phase.startswith(REPLAY) or unit.batch in setting.own
            if mine and key in self._left and not unit.failed:
                self._left[key] = max(self._left[key] - len(unit.indices), 0)
        self._varying = {group[0].label for group in self._groups if not group[0].info.is_corruption} | {CHECKS}
        self._seen: dict[Key, _Seen] = {}
        self._all = _Seen()
        self._builds: list[float] = []
        self._unbuilt = list(dict.fromkeys(variant.bn for variant in plan.variants))
        self._before = time.perf_counter()

    def _samples_of(self, variant: str, phase: str) -> int:
        if phase == CHECKS:
            return min(self._checked, self._batch if variant in self._whole else self._all_samples)
        return self._own + (min(SINGLES, self._own) if phase.startswith(REPLAY) else 0)

    @contextmanager
    def building(self, bn: str) -> Iterator[None]:
        """Measure the building of a network, with its training if there is one."""
        started = time.perf_counter()
        yield
        self._builds.append(time.perf_counter() - started)
        self._unbuilt = [other for other in self._unbuilt if other != bn]

    def begin(self) -> None:
        """Begin a phase, from where its time counts."""
        self._before = time.perf_counter()

    def add(self, unit: Unit) -> None:
        """Count a unit that is finished."""
        now = time.perf_counter()
        passes = unit.forward_passes + unit.backward_passes
        self._count((unit.variant, unit.phase), len(unit.indices), now - self._before, passes)
        self._before = now

    def checked(self, variant: str) -> None:
        """Count the sanity checks of a variant, begun with `begin`, as finished."""
        key = (variant, CHECKS)
        self._count(key, self._left.get(key, 0), time.perf_counter() - self._before, 0)

    def _count(self, key: Key, samples: int, seconds: float, passes: float) -> None:
        self._seen.setdefault(key, _Seen()).add(samples, seconds, passes)
        if passes:
            self._all.add(samples, seconds, passes)
        if key in self._left:
            self._left[key] = max(self._left[key] - samples, 0)

    def end(self, variant: str, phase: str) -> None:
        """Count a phase as finished, also if its attack has failed."""
        self._left.pop((variant, phase), None)

    def survived(self, variant: str, share: float) -> None:
        """Take note of the share of the samples that an attack left right, or that are right before any."""
        self._share[variant] = min(self._share.get(variant, 1.0), share)

    def left(self) -> Left | None:
        """Return the seconds left, and between which they probably are; None as long as nothing can be said."""
        found = [self._of(key, samples) for key, samples in self._left.items() if samples]
        if not self._all.passes or not found or any(one is None for one in found):
            return None
        spans = [one for one in found if one is not None]
        building = len(self._unbuilt) * max(self._builds, default=0.0)
        middle, low, high = (math.fsum(values) + building for values in zip(*spans, strict=True))
        return Left(middle, low, high)

    def _of(self, key: Key, samples: int) -> Left | None:
        """Return the seconds of what is left of a phase."""
        seen = self._seen.get(key)
        if seen is not None and seen.samples:
            return _within(seen.seconds / seen.samples * samples, 1 / SLOWER**0.5, SLOWER**0.5)
        variant, phase = key
        same = [
            seen
            for (other, its), seen in self._seen.items()
            if its == phase and seen.samples and (phase not in self._varying or _alike(other, variant, self._whole))
        ]
        if same:
            return _within(same[-1].seconds / same[-1].samples * samples, FASTER, SLOWER)
        if not self._all.passes:
            return None
        spans = self._passes_of(key)
        if spans is None:
            return None
        second = self._all.seconds / self._all.passes
        middle, low, high = spans
        return Left(middle * second * samples, low * second * samples * FASTER, high * second * samples * SLOWER)

    def _passes_of(self, key: Key) -> tuple[float, float, float] | None:
        """Return the passes per sample of a phase that has not begun: expected, at least and at most."""
        variant, phase = key
        if phase == CLEAN:
            return 1.0, 1.0, 1.0
        if phase == CHECKS:
            least, most = (one.total for one in PASSES_OF_CHECKS)
            return (most,) * 3 if variant in self._whole else ((least + most) / 2, least, most)
        if phase.startswith(REPLAY):
            singly = min(SINGLES, self._own) * (self._batch + 1)
            return ((self._own + singly) / self._samples_of(variant, phase),) * 3
        limits: Bounds | None = self._bounds[variant, phase]
        if limits is None:
            return None
        least, most, share = limits.least.total, limits.most.total, self._share[variant]
        if variant in self._whole and share > 0:  # a batch goes on for a single one of its samples
            return (most if least == most else (least + most) / 2), least, most
        return least + HALF * share * (most - least), least, least + share * (most - least)


def _alike(variant: str, other: str, whole: set[str]) -> bool:
    """Return whether both variants have the same statistics source, on which the passes of attacks depend."""
    return (variant in whole) == (other in whole)


def _within(seconds: float, low: float, high: float) -> Left:
    return Left(seconds, low * seconds, high * seconds)


def _phases(variant: Variant, groups: Iterable[tuple[Attack, ...]], *, checks: bool) -> Iterator[str]:
    yield CLEAN
    for group in groups:
        yield group[0].label
        if variant.stats == "batch" and not group[0].info.is_corruption:
            yield from (replay_phase(attack.label) for attack in group)
    if checks:  # which are dealt to the processes by variants
        yield CHECKS


def _bounds(attack: Attack, situation: Situation) -> Bounds | None:
    """Return the passes of an attack; None also if it cannot be made, which is said when it is run."""
    try:
        return bounds(attack, situation)
    except Exception:  # noqa: BLE001 - the display must not end a run
        return None


def _situation(plan: Plan, setting: Setting, variant: Variant) -> Situation:
    return Situation(plan.task, setting.classes, plan.samples.shape, variant.stats == "batch")
