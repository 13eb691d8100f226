"""Expected errors: one root class, whose subclasses carry the exit code of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from stein_bench.exit_codes import FAILED, INTERRUPTED, USAGE

LONGEST_REASON = 300
"""Characters of another library's message that are shown."""


class SteinBenchError(Exception):
    """Root of all expected errors. Its message is one line: what is wrong, where, and what to do."""

    exit_code = FAILED


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
    text = " ".join(str(error).split())
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
