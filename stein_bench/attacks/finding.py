"""Finds the attack that a spec names if somebody brings it: in a file or module, in Python, or by a package."""

from __future__ import annotations

import inspect
from typing import Any

from stein_bench.attacks.attackinfo import AttackInfo
from stein_bench.attacks.spellings import meaning, means_something
from stein_bench.attacks.torchattacks_catalog import PACKAGE, check_installed
from stein_bench.parts.brought import Part, find_part
from stein_bench.parts.installed import find_installed
from stein_bench.specs import AttackSpec, parse_parameters

KIND = "attack"


def find_brought(spec: str) -> tuple[AttackInfo, AttackSpec] | None:
    """Return the entry of the attack that `spec` names, and its name with the parameters; None if nobody brings it.

    Raises:
        UsageError: it cannot be imported or called, or the parameters are not of the form key=value.
    """
    spec = spec.strip()
    if spec.startswith(f"{PACKAGE}:"):  # the module and a class in it
        check_installed(spec)
    found = find_part(KIND, spec) or _by_name(spec)
    if found is None:
        return None
    part, rest = found
    info = _in_catalog(part.found) or _info(part)
    return info, AttackSpec(info.name, parse_parameters(rest, spec) if rest else {})


def _by_name(spec: str) -> tuple[Part, str] | None:
    """Return what a name without a file or module means, and what follows it; names of the catalog come first."""
    name, _, rest = spec.partition(":")
    part = None if means_something(name.strip()) else find_installed(KIND, name.strip())
    return None if part is None else (part, rest)


def _info(part: Part) -> AttackInfo:
    """Return the entry of a part, as what it is: an attack of foolbox or torchattacks, a class, or a callable."""
    from stein_bench.attacks.own import of_callable, of_class

    if _is_of(part.found, "foolbox"):
        from stein_bench.attacks.own_libraries import of_foolbox

        return of_foolbox(part)
    if _is_of(part.found, "torchattacks"):
        from stein_bench.attacks.own_libraries import of_torchattacks

        return of_torchattacks(part)
    return of_class(part) if inspect.isclass(part.found) else of_callable(part)


def _is_of(found: Any, library: str) -> bool:
    """Return whether an object, or a class, descends from that library's base of all attacks."""
    kind = found if inspect.isclass(found) else type(found)
    return any(
        base.__name__ == "Attack" and base.__module__.partition(".")[0] == library for base in inspect.getmro(kind)
    )


def _in_catalog(found: Any) -> AttackInfo | None:
    """Return the catalog's entry of a class of torchattacks."""
    if not isinstance(found, type) or found.__module__.partition(".")[0] != "torchattacks":
        return None
    name = f"torchattacks.{found.__name__}"
    return meaning(name).info if means_something(name) else None


def spec_of_library(attack: Any) -> str | None:
    """Return the spec of a Python object that is one of torchattacks' own attacks: the catalog's with its settings.

    None for all others, also for those in a state that a spec cannot express.
    """
    if type(attack).__module__.partition(".")[0] != "torchattacks":
        return None
    from stein_bench.attacks.own_libraries import spec_of_torchattacks

    return spec_of_torchattacks(attack)
