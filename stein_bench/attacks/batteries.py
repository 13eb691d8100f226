"""Batteries: named lists of attack specs, in YAML files. Read without importing torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from stein_bench.attacks.catalog import CATALOG
from stein_bench.errors import UsageError, unknown_name
from stein_bench.parts.trust import check_trusted_keys
from stein_bench.reading import MOST_YAML, parse_yaml, read_bounded

FOLDER = Path(__file__).parent / "batteries"
_KEYS = {"summary", "attacks"}


@dataclass(frozen=True)
class Battery:
    """A list of attack specs, in order, with a one-line `summary`."""

    name: str
    summary: str
    attacks: tuple[str, ...]


def battery_names() -> list[str]:
    """Return the names of the batteries that come with stein-bench."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_battery(name: str, *, trust_code: bool = False) -> Battery:
    """Return the battery of that name, or the one in that YAML file.

    A file has the keys ``attacks``, a list of specs as for `--attack`, and optionally ``summary``.

    Raises:
        UsageError: there is no such battery or file, the file is not a battery, or, without `trust_code`, one of its
            attacks is code. The specs are not resolved.
    """
    if name in battery_names():
        return _read(name, FOLDER / f"{name}.yaml")
    path = Path(os.path.expanduser(name))
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):  # unlike Path.is_file also for names that are too long
        battery = _read(name, path)
        if not trust_code:
            check_trusted_keys({"attacks": battery.attacks}, name)
        return battery
    if name.lower() in CATALOG:
        raise UsageError(f"{name!r} is an attack, not a battery: give it with --attack {name.lower()}.")
    raise unknown_name("battery", name, battery_names(), "Name one of list batteries, or a YAML file.")


def _read(name: str, path: Path) -> Battery:
    try:
        content = parse_yaml(read_bounded(path, MOST_YAML, "a battery"))
    except OSError as error:
        raise UsageError(f"cannot read the battery {name!r}: {error.strerror}.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an invalid date
        raise UsageError(f"battery {name}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or "attacks" not in content:
        raise UsageError(f"battery {name}: expected a list of specs under the key 'attacks'.")
    for key in content.keys() - _KEYS:
        raise unknown_name(f"key in battery {name}:", str(key), sorted(_KEYS))
    attacks = content["attacks"]
    if not isinstance(attacks, list) or not attacks or not all(isinstance(spec, str) for spec in attacks):
        raise UsageError(f"battery {name}: 'attacks' must be a list of specs such as pgd:eps=8/255, at least one.")
    return Battery(name, str(content.get("summary", "")), tuple(attacks))
