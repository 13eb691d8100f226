"""Parts of installed packages, named by their entry points; a broken one is told of and disturbs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from stein_bench.errors import SteinBenchError, UsageError, reason
from stein_bench.parts.brought import GROUPS, Part
from stein_bench.parts.imports import Imports
from stein_bench.parts.source_files import code_sha256
from stein_bench.parts.user_code import Code, module_root


@dataclass(frozen=True)
class Installed:
    """An entry point of an installed package.

    Attributes:
        kind: a key of `brought.GROUPS`.
        name: its name, as written in a spec.
        origin: package, version and object, e.g. ``acme-attacks 1.2, acme.attacks:wiggle``.
        entry: the entry point.
        clash: empty, or why the name cannot be used.
    """

    kind: str
    name: str
    origin: str
    entry: EntryPoint
    clash: str = ""

    def load(self) -> Part:
        """Import the part.

        Raises:
            UsageError: it cannot be imported, or another package brings one of the same name.
        """
        if self.clash:
            raise UsageError(f"{self.kind} {self.name!r}: {self.clash}.")
        import sys

        try:
            found: Any = self.entry.load()
        except SteinBenchError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"{self.kind} {self.name!r} of {self.origin} cannot be imported: {reason(error)}."
            ) from error
        module = sys.modules[self.entry.module]
        file = getattr(module, "__file__", None)
        path = Path(file) if isinstance(file, str) else None
        sha256 = code_sha256(path, (module_root(path, module.__name__),)) if path is not None else ""
        shown = path.name if path is not None else self.entry.module
        return Part(self.kind, self.name, self.name, found, Code(module, path, shown, Imports(()), sha256), self.origin)


@lru_cache
def installed(kind: str) -> dict[str, Installed]:
    """Return the parts of that kind by name, without importing any of them."""
    found: dict[str, Installed] = {}
    for entry in sorted(entry_points(group=GROUPS[kind]), key=lambda entry: (entry.name, entry.value)):
        one = Installed(kind, entry.name, _origin(entry), entry)
        earlier = found.get(entry.name)
        if earlier is not None and earlier.entry.value != entry.value:
            clash = f"both {earlier.origin} and {one.origin} bring one of this name; uninstall one of them"
            one = Installed(kind, entry.name, earlier.origin, earlier.entry, clash)
        found[entry.name] = one
    return found


def find_installed(kind: str, name: str) -> Part | None:
    """Return the part of an installed package with that name, imported; None if there is none.

    Raises:
        UsageError: it cannot be imported.
    """
    one = installed(kind).get(name)
    return None if one is None else one.load()


def names(kind: str) -> list[str]:
    """Return the names of the installed parts of that kind."""
    return list(installed(kind))


def _origin(entry: EntryPoint) -> str:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown package"
    return f"{package}, {entry.value}"
