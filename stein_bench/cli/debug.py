"""`--debug`: the traceback behind an error, which is one line without it."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

import stein_bench
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


def unexpected(error: BaseException) -> str:
    """Return what a user reads about an `error` that nobody expected: whose code failed, and what to do."""
    what = reason(error).rstrip(".")
    if where := place(error):
        return f"code that is not part of stein-bench failed: {what}{where}. {OPTION} shows the traceback."
    return f"this is a bug in stein-bench: {what}. Repeat the command with {OPTION} and report what it prints."


def place(error: BaseException) -> str:
    """Return `` (net.py, line 3)`` if a line of a user's file raised `error`, or called `sys.exit`, else ``""``."""
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, SystemExit):  # a library such as wandb may have put a function of its own in place of sys.exit
        frames = [frame for frame in frames if _is_users(Path(frame.filename))]
    if not frames or not _is_users(Path(frames[-1].filename)):
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _is_users(file: Path) -> bool:
    """Return whether a source file belongs neither to stein-bench nor to Python nor to an installed package."""
    others = (
        Path(stein_bench.__file__).parent,
        *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")),
    )
    return file.is_file() and not any(file.resolve().is_relative_to(folder.resolve()) for folder in others)
