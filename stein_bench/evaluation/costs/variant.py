"""The costs of one variant, phase by phase in the order of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from stein_bench.attacks.adaptive import ADAPTIVE
from stein_bench.attacks.attack import Attack, by_run
from stein_bench.attacks.passes import Bounds, Passes
from stein_bench.evaluation.adaptive import find_strategy
from stein_bench.evaluation.batches import Evaluated, LoadedBatch
from stein_bench.evaluation.costs.estimates import estimate
from stein_bench.evaluation.costs.lines import Line
from stein_bench.evaluation.costs.other import (
    PassTimes,
    checks_seconds,
    clean_seconds,
    corruption_seconds,
    first_batches,
    pass_times,
    replay_seconds,
    verification_seconds,
)
from stein_bench.evaluation.costs.peak import PeakMemory
from stein_bench.evaluation.costs.results import Kind, PhaseCost
from stein_bench.evaluation.costs.tries import Tried
from stein_bench.evaluation.display import title_of
from stein_bench.evaluation.outcomes import corruption_draws, message_of
from stein_bench.evaluation.trial import PROBES
from stein_bench.evaluation.units import CLEAN, replay_phase
from stein_bench.models.probabilities import Probabilities
from stein_bench.preparation.plan import Plan
from stein_bench.progress import Progress, Silent, phase

TRIAL = Passes(700, 300)
"""Passes per sample of an adaptive attack's trial, about, where it is not made: three sources of gradients."""


@dataclass(frozen=True)
class VariantCosts:
    """The phases of one variant.

    Attributes:
        phases: in the order in which they run.
        variation: relative standard deviation of times.
        notes: what the figures leave out.
        seconds: what finding out took.
    """

    phases: tuple[PhaseCost, ...]
    variation: float
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def costs_of(
    plan: Plan, evaluated: Evaluated, probabilities: Probabilities | None, seconds: float, peak: PeakMemory,
    progress: Progress,
) -> VariantCosts:  # fmt: skip
    """Return what a variant costs, after trying each attack for about so many `seconds`."""
    groups = by_run(plan.attacks)
    with phase(progress, f"dry run {evaluated.variant}", len(groups) + 2):
        costs = _Costs(plan, evaluated, seconds, peak)
        found = [costs.clean()]
        progress.advance(1)
        for together in groups:
            found += costs.trial(together[0])
        for together in groups:
            found += costs.attack(together)
            progress.advance(1)
        found.append(costs.checks(probabilities))
        progress.advance(1)
    return VariantCosts(tuple(found), costs.times.both.variation, tuple(costs.notes))


class _Costs:
    """The costs of one variant."""

    def __init__(self, plan: Plan, evaluated: Evaluated, seconds: float, peak: PeakMemory) -> None:
        self._plan, self._evaluated, self._seconds, self._peak = plan, evaluated, seconds, peak
        setting = evaluated.setting
        self._count, self._batches = len(setting.samples), setting.batch_count
        peak.reset()
        batches, self._reading = first_batches(setting)
        self._batch: LoadedBatch = batches[0]
        self.times = pass_times(evaluated, evaluated.model, self._batch)
        self._of_model = {id(evaluated.model): self.times}
        self.notes: list[str] = []

    def clean(self) -> PhaseCost:
        draws = self._evaluated.draws("", self._batch.ids)
        passes = Passes(1 if draws is None else len(draws.selecting) + len(draws.fresh), 0)
        line = clean_seconds(self._evaluated, self._batch)
        return self._phase(CLEAN, "clean", self._all(line), passes)

    def trial(self, attack: Attack) -> list[PhaseCost]:
        """Look for the strategy of an adaptive attack as the run will, if that is quick."""
        if attack.name != ADAPTIVE:
            return []
        self._peak.reset()
        predicted = self.times.at(TRIAL, min(PROBES, self._count))
        if predicted > 2 * self._seconds:
            self.notes.append(
                "looking for hidden gradients takes long: its time is guessed, and the adaptive attack is taken to use "
                "the model's own gradients"
            )
            return [self._phase("looking for hidden gradients", "trial", predicted)]
        began = time.perf_counter()
        strategy, _ = find_strategy(self._evaluated, attack, self._evaluated.attack_model, Silent())
        taken = time.perf_counter() - began
        strategies = {**self._evaluated.strategies, attack.label: strategy}
        self._evaluated = replace(self._evaluated, strategies=strategies)
        return [self._phase("looking for hidden gradients", "trial", taken)]

    def attack(self, together: Sequence[Attack]) -> list[PhaseCost]:
        """Return the cost of attacks with the same run, and of their replays; nothing of one that fails."""
        try:
            return self._of_attack(together)
        except torch.OutOfMemoryError:
            reason = "out of memory; a run would go on with fewer samples at once, or end"
        except Exception as error:  # noqa: BLE001 - in a run too, only the attack fails
            reason = message_of(error)
        self.notes.append(f"{title_of(together, self._plan.attacks)}, {self._evaluated.variant}, fails: {reason}")
        return []

    def _of_attack(self, together: Sequence[Attack]) -> list[PhaseCost]:
        self._peak.reset()
        attack, title = together[0], title_of(together, self._plan.attacks)
        if attack.info.is_corruption:
            first = self._plan.variants[0].label == self._evaluated.variant
            line = corruption_seconds(self._evaluated, attack, self._batch, makes=first).times(attack.draws)
            own = self._evaluated.draws(attack.label, self._batch.ids)
            passes = Passes(corruption_draws(attack, own), 0)
            return [self._phase(attack.label, "corruption", self._all(line), passes, title)]
        times, model = self._times_of(attack), self._evaluated.attacked_by(attack)
        tried = Tried(self._evaluated, attack, model, times.forward.line, times.both.line)
        found = estimate(tried, self._seconds)
        judging = self._all(verification_seconds(self._evaluated, together, self._batch))
        if self._plan.config.save_adversarials:
            judging += 2 * self.times.forward.line.at(len(self._batch.ids))
        seconds = found.seconds + judging + self._reading_seconds()
        cost = PhaseCost(
            self._evaluated.variant, attack.label, title, "attack", seconds, found.below, found.above,
            bounds=found.bounds, expected=found.expected, tried=found.tried,
            peak_bytes=self._peak.bytes(), at_least=found.at_least, parts=self._batches,
        )  # fmt: skip
        return [cost, *self._replays(together)]

    def _replays(self, together: Sequence[Attack]) -> list[PhaseCost]:
        if not self._evaluated.batch_dependent:
            return []
        seconds = replay_seconds(self._evaluated, self.times.forward.line)
        return [
            PhaseCost(
                self._evaluated.variant,
                replay_phase(attack.label),
                f"replay {title_of([attack], self._plan.attacks)}",
                "replay",
                seconds,
            )
            for attack in together
        ]

    def checks(self, probabilities: Probabilities | None) -> PhaseCost:
        self._peak.reset()
        seconds = checks_seconds(self._plan, self._evaluated, probabilities, self.times)
        return self._phase("checks", "checks", seconds)

    def _times_of(self, attack: Attack) -> PassTimes:
        """Return the times of the passes of the network that is attacked: the evaluated one, or one in its place."""
        model = self._evaluated.attacked_by(attack)
        if id(model) not in self._of_model:
            self._of_model[id(model)] = pass_times(self._evaluated, model, self._batch)
        return self._of_model[id(model)]

    def _all(self, line: Line) -> float:
        return line.at(self._count, self._batches)

    def _reading_seconds(self) -> float:
        return self._reading * self._batches

    def _phase(
        self, phase: str, kind: Kind, seconds: float, passes: Passes | None = None, title: str = ""
    ) -> PhaseCost:
        limits = None if passes is None else Bounds(passes, passes)
        parts = {"checks": len(self._plan.variants), "trial": 1}.get(kind, self._batches)
        reading = self._reading_seconds() if kind in ("clean", "corruption") else 0.0
        return PhaseCost(
            self._evaluated.variant, phase, title or phase, kind, seconds + reading, bounds=limits, expected=passes,
            peak_bytes=self._peak.bytes(), parts=parts,
        )  # fmt: skip
