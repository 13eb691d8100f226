"""The worst case within each budget of a battery: the points of an accuracy-ε curve. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stein_bench.measures import Outcome
from stein_bench.report.attack_names import Budgeted
from stein_bench.report.results import BudgetResult


def budget_results(attacks: Sequence[Budgeted], robust: Mapping[str, Outcome]) -> list[BudgetResult]:
    """Return the worst case within every budget, by norm in the order of the attacks and by eps.

    A small ε-ball lies within every larger one of the same norm, so an attack counts for all budgets from its own on.
    Empty if there is only one budget (that is the worst case itself) or if an attack has no outcomes.

    Args:
        attacks: the battery.
        robust: the outcomes under attack by label.
    """
    if any(attack.label not in robust for attack in attacks):
        return []
    norms = dict.fromkeys(attack.norm for attack in attacks)
    budgets = [(norm, eps) for norm in norms for eps in sorted({a.eps for a in attacks if a.norm == norm})]
    return [_within(attacks, robust, norm, eps) for norm, eps in budgets] if len(budgets) > 1 else []


def _within(attacks: Sequence[Budgeted], robust: Mapping[str, Outcome], norm: str, eps: float) -> BudgetResult:
    labels = [attack.label for attack in attacks if attack.norm == norm and attack.eps <= eps]
    outcomes = [robust[label] for label in labels]
    worst = type(outcomes[0]).worst_case(outcomes)
    rate, metrics = worst.accuracy(), worst.metrics() or None
    return BudgetResult.model_validate(
        {
            "norm": norm,
            "eps": eps,
            "attacks": labels,
            "accuracy": rate.value,
            "ci95": (rate.low, rate.high),
            "expected_accuracy": worst.expected(),
            "metrics": metrics,
        }
    )
