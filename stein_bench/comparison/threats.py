"""Threat models that attacks stand for, and how strong those of a report are within one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Literal

from stein_bench.attacks.catalog import CATALOG, ONE_STEP
from stein_bench.report.attack_names import AUTOATTACKS
from stein_bench.report.results import AttackResult
from stein_bench.specs import format_eps

Knowledge = Literal["white-box", "queries", "transfer"]
"""What the attacker knows: everything, the outputs of queries, or another model."""
_ORDER = ("white-box", "queries", "transfer")


@dataclass(frozen=True)
class Threat:
    """A threat model: a perturbation of at most `eps` in the `norm`, and the attacker's `knowledge`."""

    norm: str
    eps: float
    knowledge: Knowledge

    @property
    def title(self) -> str:
        """Its name for display, e.g. ``Linf 8/255`` for a white-box attacker, ``L2 0.5, queries``."""
        apart = "" if self.knowledge == "white-box" else f", {self.knowledge}"
        return f"{self.norm} {format_eps(self.eps)}{apart}"

    def here(self, attacks: Iterable[AttackResult]) -> list[AttackResult]:
        """Return the attacks with exactly this budget that an attacker with this knowledge can make.

        Knowing everything includes asking for outputs, and another model.
        """
        return [one for one in self.within(attacks) if _same(one.eps, self.eps)]

    def within(self, attacks: Iterable[AttackResult]) -> list[AttackResult]:
        """Return the attacks with at most this budget: a small ball lies within every larger one of the same norm."""
        return [
            one
            for one in attacks
            if one.norm == self.norm
            and (one.eps < self.eps or _same(one.eps, self.eps))
            and self.knowledge in ("white-box", knowledge(one))
        ]


def _same(eps: float, other: float) -> bool:
    return isclose(eps, other, rel_tol=1e-6) or format_eps(eps) == format_eps(other)


def knowledge(attack: AttackResult) -> Knowledge:
    """Return what an attack knows. One that the catalog does not have counts as knowing everything."""
    access = CATALOG[attack.name].access if attack.name in CATALOG else "unknown"
    if access == "transfer":
        return "transfer"
    return "queries" if access in ("score", "decision") else "white-box"


def threats(attacks: Iterable[AttackResult]) -> list[Threat]:
    """Return the threat models of some attacks: white-box ones first, then by norm and eps."""
    found: list[Threat] = []
    for attack in attacks:
        known = knowledge(attack)
        if not any((t.norm, t.knowledge) == (attack.norm, known) and _same(t.eps, attack.eps) for t in found):
            found.append(Threat(attack.norm, attack.eps, known))
    norms = ("Linf", "L2", "L1", "L0")
    return sorted(found, key=lambda t: (_ORDER.index(t.knowledge), norms.index(t.norm), t.eps))


Strength = Literal["autoattack", "ensemble", "iterated", "one-step", "own", "queries", "transfer"]
STRENGTHS: dict[Strength, str] = {
    "autoattack": "complete AutoAttack",
    "ensemble": "another ensemble",
    "iterated": "iterated gradient attacks",
    "one-step": "one gradient step",
    "own": "attacks of unknown strength",
    "queries": "queries",
    "transfer": "transfer",
}
"""How strong the attacks of a report are within a threat model, the strongest first, with their names for display.

Robust accuracies under all but the first are upper bounds that a stronger attack may lower by much.
"""

PARTS = {"apgd-ce": {"steps": 100}, "apgd-t": {"steps": 100, "targets": 9}, "fab-t": {"steps": 100, "targets": 9},
         "square": {"queries": 5000}}  # fmt: skip
"""AutoAttack's four attacks and the least effort of each (Croce and Hein 2020)."""
WHOLE = {"steps": 100, "queries": 5000}
"""The least effort of AutoAttack as one attack."""
RANDOM_PARTS = {"apgd-ce": {"eot": 20}, "apgd-dlr": {"eot": 20}}
"""Those of its version for random models."""
ENSEMBLES = ("adaptive", "fast-ensemble", "strongest-ensemble", *AUTOATTACKS)


def strength(attacks: Sequence[AttackResult], random: bool) -> Strength:
    """Return how strong attacks within one threat model are together: at least one of them.

    The torchattacks library's AutoAttack takes a tenth of the steps and is not complete. `random` models have a version
    of their own, which averages over draws.
    """
    known: set[str] = {knowledge(one) for one in attacks}
    if known == {"transfer"}:
        return "transfer"
    if "white-box" not in known:
        return "queries"
    if _complete(attacks, random):
        return "autoattack"
    gradients = [one.name for one in attacks if one.name in CATALOG and knowledge(one) == "white-box"]
    if any(name in ENSEMBLES for name in gradients):
        return "ensemble"
    if any(name not in ONE_STEP for name in gradients):
        return "iterated"
    return "one-step" if gradients else "own"


def _complete(attacks: Sequence[AttackResult], random: bool) -> bool:
    if random:
        return _all(attacks, RANDOM_PARTS)
    whole = ("autoattack", "strongest-ensemble")
    return any(_all(attacks, {name: WHOLE}) for name in whole) or _all(attacks, PARTS)


def _all(attacks: Sequence[AttackResult], wanted: dict[str, dict[str, int]]) -> bool:
    """Return whether every wanted attack was made, with at least the effort given."""
    return all(any(one.name == name and _effort(one, least) for one in attacks) for name, least in wanted.items())


def _effort(attack: AttackResult, least: dict[str, int]) -> bool:
    return all(isinstance(value := attack.params.get(key), int) and value >= most for key, most in least.items())
