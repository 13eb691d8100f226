"""Rows of `stein-bench list` for the parts that installed packages bring, broken ones with their reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator

from stein_bench.errors import SteinBenchError, reason
from stein_bench.parts.brought import Part
from stein_bench.parts.installed import installed


def installed_rows(
    kind: str, hidden: Callable[[str], bool] | Collection[str] = (), check: Callable[[str], str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield name and description of every installed part of a kind; those that cannot be used say why.

    Args:
        kind: see `parts.brought.GROUPS`.
        hidden: names that the program itself has, which come first, or a function that knows them.
        check: is called with the name of a part that could be imported; it returns more lines on it, each with its line
            break, or raises if it cannot be used.
    """
    for name, one in installed(kind).items():
        if hidden(name) if callable(hidden) else name in hidden:
            yield name, f"hidden by the {kind} of that name which stein-bench has\n  {one.origin}"
            continue
        try:
            part = one.load()
            more = "" if check is None else check(name)
        except SteinBenchError as error:
            told = error if error.__cause__ is None else reason(error.__cause__)
            yield name, f"broken: {told}\n  {one.origin}"
        else:
            yield name, f"{_summary(part)}\n{more}  {one.origin}"


def _summary(part: Part) -> str:
    """Return the first line of an object's docstring, if it has one of its own."""
    found = part.found if callable(part.found) else type(part.found)
    text = found.__dict__.get("__doc__") if inspect.isclass(found) else inspect.getdoc(found)
    return str(getattr(part.found, "summary", "") or (text or "").strip().partition("\n")[0].rstrip(".") or part.kind)
