"""Importing a user's file or module, with one-line errors that name file and line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

from stein_bench.errors import UsageError
from stein_bench.models.interface import reason


@contextmanager
def running(folder: Path, doing: str, file: Path | None, shown: str) -> Iterator[None]:
    """Run a user's code in the body: `folder` is importable, prints go to stderr, errors become `UsageError`.

    `sys.path` is restored afterwards. The error states what was being done (`doing`), exception type and
    message, and the line of the user's `file`, called `shown`, where it occurred.
    """
    try:
        with _importable(folder), redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:  # a script may call sys.exit
        raise UsageError(f"{doing} failed: {reason(error)}{_line(error, file, shown)}") from error


def import_file(file: Path, shown: str) -> ModuleType:
    """Return the module of a Python `file`, under a unique name in `sys.modules`.

    The name depends on path and content, so an edited file is imported again, and an unchanged one only
    once. Raises `UsageError` (which calls the file `shown`) if it is missing or fails.
    """
    if not file.is_file():
        raise UsageError(f"no such file: {shown}")
    source = file.read_bytes()
    content = hashlib.sha256(str(file.resolve()).encode() + b"\0" + source).hexdigest()
    name = f"stein_bench_user_{file.stem}_{content[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise UsageError(f"{shown} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with running(file.parent, f"importing {shown}", file, shown):
            # not by the loader, which may run bytecode cached from another version saved in the same second
            exec(compile(source, str(file), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def import_named(name: str, folder: Path) -> ModuleType:
    """Return the module with this dotted `name`, with `folder` importable.

    Raises `UsageError` if there is none or importing it fails.
    """
    file = _origin(name, folder)
    with running(folder, f"importing {name}", file, file.name if file else name):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if name != missing and not name.startswith(f"{missing}."):
                raise
    raise UsageError(f"no module {name!r}, neither in the current directory nor installed.")


def is_importable(name: str, folder: Path) -> bool:
    """Return whether there is a top-level module `name`, in `folder` or installed, without running it."""
    return _find(name, folder) is not None


def _origin(name: str, folder: Path) -> Path | None:
    """Return the file of the module `name`, found without running any of it; None if there is none."""
    top, *rest = name.split(".")
    origin = _find(top, folder)
    if origin is None:
        return None
    if not rest:
        return origin
    base = origin.parent.joinpath(*rest)
    files = (base.with_name(f"{base.name}.py"), base / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Make modules in `folder` importable in the body, ahead of installed ones of the same name."""
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()  # to find files written since the last import
    try:
        yield
    finally:
        sys.path[:] = path


def _find(top: str, folder: Path) -> Path | None:
    try:
        with _importable(folder):
            spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # ValueError: a loaded module without a spec, such as __main__
        return None
    return Path(spec.origin or "") if spec else None


def _line(error: BaseException, file: Path | None, shown: str) -> str:
    """Return `` (net.py, line 3)`` for the innermost line of the user's `file`, or ``""``."""
    if file is None:
        return ""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f" ({shown}, line {error.lineno})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" ({shown}, line {lines[-1]})" if lines else ""
