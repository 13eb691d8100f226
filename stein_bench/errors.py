"""Expected errors: one root class, whose subclasses carry the exit code of the command line; texts safe to show."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

from stein_bench.exit_codes import FAILED, INTERRUPTED, USAGE

LONGEST_REASON = 300
"""Characters of another library's message that are shown."""


_UNSEEN = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff"
)
_UNSAFE = re.compile(
    # Joiners shape letters of many scripts and emoji; at other places they only make names that look the same.
    f"[{_UNSEEN}]|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f{_UNSEEN}\u200c\u200d])"
)


def visible(text: str) -> str:
    """Return a text with what a reader cannot see, or a terminal obeys, spelled out as in Python; line ends stay.

    These are control characters, marks of direction, characters without width, and halves of surrogate pairs. Names
    of files, classes and attacks may hold any of them.

    >>> visible("red \\x1b[31m, left \\u202e, tab \\t")
    'red \\\\x1b[31m, left \\\\u202e, tab \\\\t'
    """
    return text if text.isascii() and text.isprintable() else _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return a text as `visible` does, with its line ends spelled out as well."""
    return visible(text).replace("\n", "\\n")


def visible_json(text: str) -> str:
    """Return a JSON document of the same value, in which `visible` would change nothing but line ends.

    >>> visible_json('{"name": "left \\u202e, delete \\x7f"}')
    '{"name": "left \\\\u202e, delete \\\\u007f"}'
    """
    return text if text.isascii() and "\x7f" not in text else _UNSAFE.sub(_as_json, text)


_COMMAND = re.compile(r"^((?:\x1b\[[0-9;]*m|[^\S\n])*):(?=:)|#(?=#\[)", re.MULTILINE)


def without_commands(text: str) -> str:
    """Return a text of whole lines in which GitHub Actions finds no workflow command; elsewhere as it is.

    Its runner takes orders from what a step prints: lines that begin with ``::name``, and ``##[name]`` at any place.
    The first character is written as in JSON, where that changes no value.

    Source: ActionCommand.cs of github.com/actions/runner.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return text
    return _COMMAND.sub(lambda found: f"{found[1] or ''}\\u{ord(found[0][-1]):04x}", text)


def _as_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


class SteinBenchError(Exception):
    """Root of all expected errors. Its message is one line: what is wrong, where, and what to do."""

    exit_code = FAILED

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(SteinBenchError):
    """Wrong usage, configuration or input (exit code 2)."""

    exit_code = USAGE


class InterruptedRunError(SteinBenchError):
    """The user, or a scheduler, has interrupted the command (exit code 130)."""

    exit_code = INTERRUPTED


class RunError(SteinBenchError):
    """The run failed, or its results cannot be trusted or compared (exit code 3)."""

    exit_code = FAILED


class OutOfMemoryRunError(RunError):
    """Memory ran out.

    Args:
        message: what a user reads.
        batch_size: the batches in which it did, where smaller ones may fit; None where they would not help.
    """

    def __init__(self, message: str, batch_size: int | None = None) -> None:
        super().__init__(message)
        self.batch_size = batch_size


def reason(error: BaseException) -> str:
    """Return type and message of an `error` from third-party code as one line of bounded length."""
    try:
        text = visible(" ".join(str(error).split()))
    except Exception:  # noqa: BLE001  (the text of a user's exception is made by the user's code)
        text = ""
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 1] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def without_prefix(message: str) -> str:
    """Return a message of pydantic without the words that it puts before the text of a `ValueError`."""
    return message.replace("Value error, ", "", 1)


def suggestion(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return `` Did you mean 'a' or 'b'?`` (with a leading space) for the names nearest to `name`, or ``""``."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower(), by_lower, n=most, cutoff=0.6)
    return did_you_mean(by_lower[match] for match in near)


def did_you_mean(near: Iterable[str]) -> str:
    """Return `` Did you mean 'a' or 'b'?`` (with a leading space) for these names, or ``""`` without any."""
    names = " or ".join(map(repr, near))
    return f" Did you mean {names}?" if names else ""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "", *, listed: str = "") -> UsageError:
    """Return the error for a `name` of this `kind` that is not in `known`, suggesting the nearest.

    Args:
        kind, name, known: what is unknown, and the names that exist.
        hint: a sentence that is used if no name is near, instead of all known names.
        listed: a sentence on where the known names are listed, which is always used.
    """
    known = tuple(known)
    near = suggestion(name, known)
    if not near and not hint and not listed:
        hint = f"Known: {', '.join(known)}."
    parts = [f"unknown {kind} {name!r}.{near}", "" if near else hint, listed]
    return UsageError(" ".join(part for part in parts if part))
