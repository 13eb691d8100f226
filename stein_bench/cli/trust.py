"""Why a command that has written its results ends with exit code 3."""

from __future__ import annotations

from collections.abc import Sequence

from stein_bench.cli.said import note
from stein_bench.launch import speaks


def told_honest(what: str, distrusted: Sequence[str]) -> bool:
    """Return whether no result is distrusted; otherwise say so in one line on stderr.

    Args:
        what: the report or document that holds the results.
        distrusted: a line for each result that cannot be trusted.
    """
    if distrusted and speaks():
        others = f", and {len(distrusted) - 1} more" if len(distrusted) > 1 else ""
        note(f"stein-bench: {what} cannot be trusted: {distrusted[0].rstrip('.')}{others}.")
    return not distrusted
