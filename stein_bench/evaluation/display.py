"""Progress display of an evaluation: titles, counts and the accuracy so far of its phases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from stein_bench.attacks.attack import Attack, by_run
from stein_bench.evaluation.remaining import Remaining
from stein_bench.evaluation.replay import SINGLES
from stein_bench.evaluation.units import CLEAN, REPLAY, Unit, draws, replay_phase
from stein_bench.measures import MEASURES, Outcome
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.variants import Variant
from stein_bench.progress import Progress, phase, show_left
from stein_bench.specs import format_eps


class _Ending:
    """Another progress; before its phase ends, something else is done."""

    def __init__(self, progress: Progress, before: Callable[[], None]) -> None:
        self._progress, self._before = progress, before
        self.start, self.advance, self.note = progress.start, progress.advance, progress.note

    def finish(self) -> None:
        self._before()
        self._progress.finish()


class PhaseDisplay:
    """Shows one progress phase per evaluation phase of a variant, with its accuracy so far.

    Args:
        progress: receives the progress.
        plan, variant: what is evaluated.
        units: units already finished, of the batches of this process.
        samples: number of samples in its batches.
        remaining: follows the whole run, whose time left is shown with every unit.
    """

    def __init__(
        self, progress: Progress, plan: Plan, variant: Variant, units: list[Unit], samples: int,
        remaining: Remaining | None = None,
    ) -> None:  # fmt: skip
        self._progress = progress
        self._remaining = remaining
        self._samples = samples
        self._variant = variant
        self._titles = {CLEAN: CLEAN, **{attack.label: title_of([attack], plan.attacks) for attack in plan.attacks}}
        self._titles |= {replay_phase(label): f"replay {title}" for label, title in self._titles.items()}
        self._titles |= {together[0].label: title_of(together, plan.attacks) for together in by_run(plan.attacks)}
        self._measure = MEASURES[plan.task.name]
        self._clean: dict[int, Outcome] = {}
        self._right, self._of, self._label, self._failed = 0.0, 0, "", False
        self._what = "accuracy"
        self._done: dict[str, int] = {}
        self._finished = tuple(units)
        for unit in units:
            self._done[unit.phase] = self._done.get(unit.phase, 0) + len(unit.indices)
            if unit.phase == CLEAN:
                self._clean[unit.batch] = self._measure.from_columns(unit.columns)

    @contextmanager
    def phase(self, label: str) -> Iterator[None]:
        """Run the body as the phase with that label; `show` then shows its units."""
        self._right, self._of, self._label, self._failed = 0.0, 0, label, False
        title = f"{self._titles[label]} {self._variant.label}"
        total = self._samples
        if label.startswith(REPLAY):
            total += min(self._samples, SINGLES)
        else:
            for unit in self._finished:
                if unit.phase == label and not unit.failed:
                    self._count(unit)
        with phase(self._progress, title, total, self._done.get(label, 0)), self._followed(label):
            yield

    @contextmanager
    def checks(self) -> Iterator[Progress]:
        """Run the body as the sanity checks, which show their own phase on the progress that it gets."""
        remaining, variant = self._remaining, self._variant.label
        if remaining is None:
            yield self._progress
            return

        def ended() -> None:
            remaining.checked(variant)
            show_left(self._progress, remaining.left())

        remaining.begin()
        yield _Ending(self._progress, ended)

    @contextmanager
    def _followed(self, label: str) -> Iterator[None]:
        """Follow a phase: what it took tells the time left."""
        remaining, variant = self._remaining, self._variant.label
        if remaining is None:
            yield
            return
        remaining.begin()
        yield
        remaining.end(variant, label)
        if self._of and not self._failed and not label.startswith(REPLAY):
            remaining.survived(variant, self._right / self._of)
        show_left(self._progress, remaining.left())

    def show(self, unit: Unit) -> None:
        """Show a finished unit of the current phase, or of one that shares its run: then only that it failed."""
        if self._remaining is not None and not unit.failed:
            self._remaining.add(unit)
            show_left(self._progress, self._remaining.left())
        if unit.failed:
            if not self._failed:
                self._progress.note(f"{self._titles[unit.phase]} failed: {unit.message}")
            self._failed = True
            return
        if unit.phase != self._label:
            return
        if unit.phase.startswith(REPLAY):
            self._progress.advance(len(unit.indices))
            return
        if unit.phase == CLEAN:
            self._clean[unit.batch] = self._measure.from_columns(unit.columns)
        self._count(unit)
        self._progress.advance(len(unit.indices), f"{self._what} {100 * self._right / max(self._of, 1):.1f} %")

    def _count(self, unit: Unit) -> None:
        for outcome in self._outcomes(unit):
            if outcome.expected() is not None:  # of a random model
                self._what = "majority accuracy"
            right, of = outcome.right()
            self._right += right
            self._of += of

    def _outcomes(self, unit: Unit) -> list[Outcome]:
        """Return the outcomes that a unit contributes: clean, under attack, or one per draw of a corruption."""
        if unit.phase == CLEAN:
            return [self._clean[unit.batch]]
        if "invalid" in unit.columns:
            void = unit.columns["invalid"].astype(np.bool_) | unit.columns["over_budget"].astype(np.bool_)
            return [self._clean[unit.batch].under_attack(self._measure.from_columns(unit.columns), void)]
        return [self._measure.from_columns(columns) for columns in draws(unit.columns)]


def title_of(together: Sequence[Attack], attacks: Sequence[Attack]) -> str:
    """Return the name of attacks with the same run, with their budgets or strength if the name alone is ambiguous."""
    name = together[0].info.name
    namesakes = [other for other in attacks if other.info.name == name]
    if len(namesakes) == 1:
        return name
    return f"{name} {', '.join(format_eps(attack.strength) for attack in together)}"
