"""Short but distinct display names of attacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from stein_bench.specs import ParameterValue, format_eps

SEVERITY = "severity"
"""The parameter of common corruptions, 1 to 5; the strength of noises is called otherwise."""
SOURCE = "source"
"""The parameter of common corruptions whose images come from a published archive; it is the archive's name."""
AUTOATTACKS = ("autoattack", "torchattacks.AutoAttack")
NOT_FOR_RANDOM = "AutoAttack is for models that are not random: use --battery random"
"""What is said of `AUTOATTACKS` on a random model, before the run and in its report."""


class Budgeted(Protocol):
    """An attack with its budget, or the result of an attack."""

    @property
    def label(self) -> str:
        """Its identity within the report."""

    @property
    def norm(self) -> str:
        """The norm of its budget."""

    @property
    def eps(self) -> float:
        """Its budget."""


class Named(Budgeted, Protocol):
    """An attack with its name and parameters, or the result of an attack."""

    @property
    def name(self) -> str:
        """Its name in the catalog."""

    @property
    def params(self) -> Mapping[str, ParameterValue]:
        """Its other parameters."""


def titles(attacks: Sequence[Named]) -> dict[str, str]:
    """Return a short display name by label: name, norm unless Linf, and ε.

    If several attacks share it, the parameters in which they differ are appended; if that is not enough, the label is
    used.
    """
    more = distinctions(attacks)
    found = {attack.label: _title(attack) + more[attack.label] for attack in attacks}
    uses = Counter(found.values())
    return {label: title if uses[title] == 1 else label for label, title in found.items()}


def distinctions(attacks: Sequence[Named]) -> dict[str, str]:
    """Return by label the parameters in which an attack differs from others with its name, norm and ε; often empty."""
    by_title: dict[str, list[Named]] = {}
    for attack in attacks:
        by_title.setdefault(_title(attack), []).append(attack)
    return {attack.label: _apart(attack, by_title[_title(attack)]) for attack in attacks}


def noise_strength(params: Mapping[str, ParameterValue]) -> tuple[str, str]:
    """Return the name of the parameter for a corruption's strength, and its value for display."""
    kind, strength = corruption_strength(params)
    return kind, format_eps(strength)


def corruption_strength(params: Mapping[str, ParameterValue]) -> tuple[str, float]:
    """Return the name of the parameter for a corruption's strength, and its value; an empty name if there is none."""
    for kind in ("std", "amount", SEVERITY):
        if isinstance(value := params.get(kind), int | float):
            return kind, float(value)
    return "", 0.0


def _title(attack: Named) -> str:
    norm = "" if attack.norm == "Linf" else f"{attack.norm} "
    return f"{attack.name.removeprefix('torchattacks.')} {norm}{format_eps(attack.eps)}"


def _apart(attack: Named, namesakes: Sequence[Named]) -> str:
    """Return the parameters in which an attack differs from at least one of its namesakes."""
    others = [other.params for other in namesakes]
    keys = [key for key, value in attack.params.items() if any(other.get(key) != value for other in others)]
    return "".join(f" {key}={attack.params[key]}" for key in keys)
