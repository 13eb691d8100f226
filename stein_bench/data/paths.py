"""Paths in data specs."""

from __future__ import annotations

import os
from pathlib import Path

from stein_bench.errors import UsageError


def user_path(text: str) -> Path:
    """Return the path `text` with ``~`` expanded; UsageError for a user that does not exist."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text}: no such home folder; write the full path") from error


def listed(names: list[str], most: int = 5) -> str:
    """Return the first names, and how many more there are, as text."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def as_text(path: str) -> str:
    """Return `path` as valid Unicode: file names may contain any bytes, and reports are UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
