"""What an adaptive attack changed: which of its searches broke samples, and the worst case with and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stein_bench.attacks.attack import Attack
from stein_bench.evaluation.assemble import gather_phases
from stein_bench.evaluation.units import ENDED, Phase, Unit
from stein_bench.measures import MEASURES, Outcome, RightOrWrong
from stein_bench.preparation.plan import Plan
from stein_bench.report.results import AdaptiveInfo, SearchInfo, VariantResult


def with_adaptive(
    result: VariantResult, plan: Plan, found: Mapping[str, AdaptiveInfo], units: Sequence[Unit]
) -> VariantResult:
    """Return a variant's results with what was found out for its adaptive attacks (by label), and their outcomes."""
    if not found:
        return result
    clean, robust = MEASURES[plan.task.name].unpacked(result.outcomes)
    phases = gather_phases(units, len(plan.samples))
    by_label = {attack.label: attack for attack in plan.attacks}
    infos = [
        _completed(info, by_label[label], plan.attacks, clean, robust, phases[label]) for label, info in found.items()
    ]
    return result.model_copy(update={"adaptive": infos})


def _completed(
    info: AdaptiveInfo,
    attack: Attack,
    attacks: Sequence[Attack],
    clean: Outcome,
    robust: Mapping[str, Outcome],
    phase: Phase,
) -> AdaptiveInfo:
    if attack.label not in robust:
        return info  # the attack failed
    own = robust[attack.label]
    within = {
        other.label: robust[other.label]
        for other in attacks
        if other.label in robust and other.norm == attack.norm and other.eps <= attack.eps
    }
    others = [outcome for label, outcome in within.items() if label != attack.label]
    rest = type(own).worst_case(others) if others else None
    together = type(own).worst_case(list(within.values()))  # in the order of the report's worst case
    update = {
        "robust_accuracy": _figure(own),
        "others": None if rest is None else _figure(rest),
        "together": _figure(together),
        "searches": _searches(info.searches, clean, own, phase, rest, together),
    }
    return info.model_copy(update=update)


def _figure(outcome: Outcome) -> float:
    """Return the headline figure: of a random model its expected accuracy."""
    expected = outcome.expected()
    return outcome.value() if expected is None else expected.value


def _searches(
    searches: Sequence[SearchInfo],
    clean: Outcome,
    own: Outcome,
    phase: Phase,
    rest: Outcome | None,
    together: Outcome,
) -> list[SearchInfo]:
    if ENDED not in phase.columns or not isinstance(clean, RightOrWrong) or not isinstance(own, RightOrWrong):
        return []
    ended, broken = phase.columns[ENDED], clean.correct & ~own.correct
    found = []
    for number, one in enumerate(searches):
        its = ended == number
        update: dict[str, object] = {"broken": int(np.sum(its & broken))}
        if isinstance(rest, RightOrWrong) and isinstance(together, RightOrWrong):
            update["lowered"] = float(np.sum((_rates(rest) - _rates(together))[its]) / len(rest))
        found.append(one.model_copy(update=update))
    return found


def _rates(outcome: RightOrWrong) -> NDArray[np.float64]:
    """Return the share of draws in which each sample is right; 0 or 1 where predictions are not random."""
    right = outcome.correct if outcome.drawn is None else outcome.drawn.right.mean(axis=1)
    return right.astype(np.float64)
