"""How a user's own network is written, ``FILE.py:CALLABLE``, and what people write instead."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from stein_bench.errors import UsageError
from stein_bench.parts.arguments import CALL

NOTEBOOK = ".ipynb"


def split_file(spec: str) -> tuple[str, str] | None:
    """Return path and call of ``FILE.py:CALLABLE[,key=value,…]``; None if the spec names no Python file.

    Both may contain colons and commas, the call also ``.py:``. Of several readings one whose file exists is taken.
    Raises `UsageError` if what follows the file does not name a callable.
    """
    places = [(spec[: at.start() + 3], spec[at.end() :]) for at in re.finditer(r"\.py:", spec)]
    readings = [(path, call) for path, call in places if CALL.fullmatch(call)]
    existing = [reading for reading in readings if Path(os.path.expanduser(reading[0])).is_file()]
    if readings:
        return (existing or readings)[0]
    if places:
        path, call = places[0]
        check_call(call, spec, path)
    return None


def check_call(call: str, spec: str, where: str) -> None:
    """Raise a `UsageError` unless `call` is ``CALLABLE[,key=value,…]``; `where` stands before it in the spec."""
    if CALL.fullmatch(call):
        return
    name, bracket, inner = call.strip(":").partition("(")
    arguments = inner.rstrip(") ")
    if name.isidentifier() and (bracket or call.startswith(":")):
        written = f"{where}:{name}{',' if arguments else ''}{arguments}"
        raise UsageError(f"{spec!r}: write {written} (one colon, no parentheses, arguments after commas).")
    name = call.partition(",")[0]
    raise UsageError(f"{spec!r} does not name a callable: {name!r} is not a Python name.")


def check_spelling(spec: str) -> None:
    """Raise a `UsageError` that says what to write if `spec` looks like a user's file but does not name a callable."""
    where, _, call = spec.partition(":")
    call = call.strip(":") or "CALLABLE"
    if where.endswith(NOTEBOOK):
        script = f"{where.removesuffix(NOTEBOOK)}.py"
        raise UsageError(
            f"{where} is a notebook, which cannot be imported: copy the network's code into {script} and write "
            f"{script}:{call}"
        )
    if where.endswith(".py"):
        defined = _defined(Path(os.path.expanduser(where)))
        names = f" It defines {', '.join(defined)}." if defined else ""
        raise UsageError(
            f"{where!r} names a file only: write {where}:CALLABLE, the callable that returns the network.{names}"
        )
    own = f"{where}.py"
    if (":" in spec or "/" in spec) and Path(os.path.expanduser(own)).is_file() and not where.isidentifier():
        raise UsageError(f"{spec!r} lacks .py: write {own}:{call}")


def _defined(file: Path) -> list[str]:
    """Return the public functions and classes that a file defines, without running it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
