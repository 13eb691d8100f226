"""Names of attacks for people, short and still apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stein_bench.results import AttackResult
from stein_bench.specs import format_eps


def titles(attacks: Sequence[AttackResult]) -> dict[str, str]:
    """Return a short name for people by label: name, norm unless Linf, and ε.

    Where several attacks have that in common the parameters that tell them apart follow; where that is not enough it is
    the label.
    """
    by_title: dict[str, list[AttackResult]] = {}
    for attack in attacks:
        by_title.setdefault(_title(attack), []).append(attack)
    found = {attack.label: _title(attack) + _apart(attack, by_title[_title(attack)]) for attack in attacks}
    uses = Counter(found.values())
    return {label: title if uses[title] == 1 else label for label, title in found.items()}


def _title(attack: AttackResult) -> str:
    norm = "" if attack.norm == "Linf" else f"{attack.norm} "
    return f"{attack.name.removeprefix('torchattacks.')} {norm}{format_eps(attack.eps)}"


def _apart(attack: AttackResult, namesakes: Sequence[AttackResult]) -> str:
    """Return the parameters in which an attack differs from one of its namesakes."""
    others = [other.params for other in namesakes]
    keys = [key for key, value in attack.params.items() if any(other.get(key) != value for other in others)]
    return "".join(f" {key}={attack.params[key]}" for key in keys)
