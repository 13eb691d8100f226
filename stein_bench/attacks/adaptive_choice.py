"""Which adaptive attacks a battery gets: one within each of its budgets."""

from __future__ import annotations

from collections.abc import Sequence

from stein_bench.attacks.adaptive import ADAPTIVE
from stein_bench.attacks.attack import Attack, resolve_attack
from stein_bench.attacks.catalog import CATALOG
from stein_bench.errors import UsageError
from stein_bench.specs import AttackSpec


def with_adaptive_attacks(attacks: Sequence[Attack]) -> tuple[Attack, ...]:
    """Return the attacks and, within each of their budgets, the adaptive attack, unless it is there already.

    Raises:
        UsageError: no attack has a budget in a norm that it supports.
    """
    norms = CATALOG[ADAPTIVE].norms
    budgets = dict.fromkeys((attack.norm, attack.eps) for attack in attacks if attack.norm in norms)
    if not budgets:
        raise UsageError(
            f"--adaptive needs an attack in {', '.join(norms[:-1])} or {norms[-1]}, whose budget it takes."
        )
    present = {(attack.norm, attack.eps) for attack in attacks if attack.name == ADAPTIVE}
    added = [
        resolve_attack(AttackSpec(ADAPTIVE, {"norm": norm, "eps": eps}))
        for norm, eps in budgets
        if (norm, eps) not in present
    ]
    return (*attacks, *added)
