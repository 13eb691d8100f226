"""`--debug`: the traceback behind an error, which is one line without it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from stein_bench.errors import reason

OPTION = "--debug"


def without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Return the words of a command line without `--debug`, which may stand anywhere before ``--``, and if it did."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [word for word in arguments[:end] if word != OPTION]
    return [*kept, *arguments[end:]], len(kept) < end


def print_traceback(error: BaseException) -> None:
    """Print the traceback of `error` to stderr, with every error behind it, also those that ``from None`` hides."""
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        behind.__suppress_context__ = behind.__cause__ is not None
        behind = behind.__cause__ or behind.__context__
    print("".join(traceback.format_exception(error)), end="", file=sys.stderr)  # noqa: T201


def bug(error: BaseException) -> str:
    """Return what a user reads about an `error` that nobody expected."""
    return (
        f"this is a bug in stein-bench: {reason(error).rstrip('.')}. Repeat the command with {OPTION} and report what "
        "it prints."
    )
