"""Options after a path, as in ``npz:test.npz,train=train.npz``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stein_bench.errors import UsageError, unknown_name

_OPTION = re.compile(r"\s*([A-Za-z_][\w-]*)\s*=(.*)", re.DOTALL)


def split_options(text: str, known: Sequence[str], kind: str) -> tuple[str, dict[str, str]]:
    """Split the trailing ``,NAME=VALUE`` from a path, which may itself contain commas and equals signs.

    Args:
        text: what follows ``kind:`` in the data spec.
        known: the options that exist.
        kind: name of the kind of data, for errors.

    Raises:
        UsageError: an option is unknown (unless a file has that name), has no value or is given twice.
    """
    parts, given = text.split(","), dict[str, str]()
    while len(parts) > 1 and (match := _OPTION.fullmatch(parts[-1])):
        name, value = match[1].lower(), match[2].strip()
        if name not in known:
            if Path(",".join(parts)).expanduser().exists():
                break
            raise unknown_name(f"option of {kind}", match[1], known, hint="" if known else "It has none.")
        if not value:
            raise UsageError(f"{kind}:{text}: {name}= has no value")
        if name in given:
            raise UsageError(f"{kind}:{text} gives {name!r} twice")
        given[name] = value
        parts.pop()
    return ",".join(parts), given
