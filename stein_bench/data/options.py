"""Options after a path, as in ``npz:test.npz,train=train.npz``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from stein_bench.errors import UsageError, unknown_name

_OPTION = re.compile(r",\s*([A-Za-z_][\w-]*)\s*=")


def split_options(text: str, known: Sequence[str], kind: str) -> tuple[str, dict[str, str]]:
    """Split the trailing ``,NAME=VALUE`` from a path. Path and values may themselves contain commas and equals signs.

    Args:
        text: what follows ``kind:`` in the data spec.
        known: the options that exist.
        kind: name of the kind of data, for errors.

    Raises:
        UsageError: an option is unknown (unless a file has that name), has no value or is given twice.
    """
    path, given = text, dict[str, str]()
    while (found := list(_OPTION.finditer(path))) and not is_there(path):
        match = _belongs(path, found, known)
        name, value = match[1].lower(), path[match.end() :].strip()
        if name not in known:
            raise unknown_name(f"option of {kind}", match[1], known, hint="" if known else "It has none.")
        if not value:
            raise UsageError(f"{kind}:{text}: {name}= has no value")
        if name in given:
            raise UsageError(f"{kind}:{text} gives {name!r} twice")
        given[name] = value
        path = path[: match.start()]
    return path, given


def is_there(path: str) -> bool:
    """Return whether a file or folder has that name; ``~`` is expanded."""
    return os.path.exists(os.path.expanduser(path))


def _belongs(path: str, found: Sequence[re.Match[str]], known: Sequence[str]) -> re.Match[str]:
    """Return the last option of `path`; what looks like one may be within the file name that an earlier one gives."""
    if found[-1][1].lower() not in known:
        for match in reversed(found[:-1]):
            if match[1].lower() in known and is_there(path[match.end() :].strip()):
                return match
    return found[-1]
