"""The worst case within each budget."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from stein_bench.measures import RightOrWrong
from stein_bench.measures.budgets import budget_results


def attack(label, norm, eps):
    return SimpleNamespace(label=label, norm=norm, eps=eps)


def bits(*right):
    return RightOrWrong(np.isin(np.arange(4), right))


def test_an_attack_counts_for_its_own_budget_and_every_larger_one_of_its_norm():
    attacks = [attack("large", "Linf", 0.2), attack("small", "Linf", 0.1), attack("l2", "L2", 1.0)]
    robust = {"large": bits(0, 1), "small": bits(1, 2, 3), "l2": bits(0)}
    found = budget_results(attacks, robust)
    assert [(b.norm, b.eps, b.attacks, b.accuracy) for b in found] == [
        ("Linf", 0.1, ["small"], 0.75),
        ("Linf", 0.2, ["large", "small"], 0.25),  # sample 1 alone survives both
        ("L2", 1.0, ["l2"], 0.25),
    ]
    assert all(b.ci95[0] < b.accuracy < b.ci95[1] for b in found)


@pytest.mark.parametrize("robust", [{"a": bits(0)}, {"a": bits(0), "b": bits(1)}])
def test_one_budget_or_a_failed_attack_has_none(robust):
    attacks = [attack("a", "Linf", 0.1), attack("b", "Linf", 0.1 if len(robust) == 2 else 0.2)]
    assert budget_results(attacks, robust) == []
