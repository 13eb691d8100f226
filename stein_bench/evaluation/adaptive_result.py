"""What an adaptive attack changed: which of its searches broke samples, and the worst case with and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

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
    others = [
        robust[other.label]
        for other in attacks
        if other.label in robust and other.label != attack.label
        and other.norm == attack.norm and other.eps <= attack.eps
    ]  # fmt: skip
    rest = type(own).worst_case(others) if others else None
    together = type(own).worst_case([own, *others])
    update = {
        "robust_accuracy": own.value(),
        "others": None if rest is None else rest.value(),
        "together": together.value(),
        "searches": _searches(info.searches, clean, own, rest, phase),
    }
    return info.model_copy(update=update)


def _searches(
    searches: Sequence[SearchInfo], clean: Outcome, own: Outcome, rest: Outcome | None, phase: Phase
) -> list[SearchInfo]:
    if ENDED not in phase.columns or not isinstance(clean, RightOrWrong) or not isinstance(own, RightOrWrong):
        return []
    ended, broken = phase.columns[ENDED], clean.correct & ~own.correct
    found = []
    for number, one in enumerate(searches):
        its = broken & (ended == number)
        update: dict[str, object] = {"broken": int(np.sum(its))}
        if isinstance(rest, RightOrWrong):
            update["lowered"] = float(np.mean(its & rest.correct))
        found.append(one.model_copy(update=update))
    return found
