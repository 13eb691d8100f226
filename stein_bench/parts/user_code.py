"""Importing a user's file or module, with one-line errors that name file and line."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from stein_bench.errors import SteinBenchError, UsageError, reason, suggestion
from stein_bench.parts.imports import UNIQUE, Imports
from stein_bench.parts.source_files import code_sha256, imports_own_folder, package_folders, package_root


@dataclass(frozen=True)
class Code:
    """A user's imported module.

    Attributes:
        module: the module.
        file: its source file, None if there is none; errors call it `shown`.
        imports: what it can import while it runs.
        sha256: the hash of its source files.
    """

    module: ModuleType
    file: Path | None
    shown: str
    imports: Imports
    sha256: str


UNIQUE_NAME = re.compile(rf"{UNIQUE}(\w+)_[0-9a-f]{{16}}(\.?)")
"""A unique name in `sys.modules`, of a file or, followed by a point, of the folder around its package."""


@contextmanager
def running(imports: Imports, doing: str, file: Path | None, shown: str) -> Iterator[None]:
    """Run a user's code in the body: it can import from its folders, prints go to stderr, errors become `UsageError`.

    The error states what was being done (`doing`), exception type and message, and the line of the user's `file`,
    called `shown`, where it occurred.
    """
    try:
        with imports.available(), redirect_stdout(sys.stderr):
            yield
    except SteinBenchError:
        raise
    except (Exception, SystemExit) as error:  # a script may call sys.exit
        text = UNIQUE_NAME.sub(lambda name: "" if name[2] else name[1], reason(error))
        raise UsageError(f"{doing} failed: {text}{_line(error, file, shown)}") from error


def import_file(file: Path, shown: str) -> ModuleType:
    """Return the module of a Python `file`; see `load_file`."""
    return load_file(file, shown).module


def load_file(file: Path, shown: str) -> Code:
    """Import a Python `file`, under a unique name in `sys.modules`.

    The name depends on the path and on the content of the file and of those that it imports, so an edited file is
    imported again, and an unchanged one only once. A file with relative imports is imported as part of its package.
    Random numbers drawn by the import are the same every time. Raises `UsageError` (which calls the file `shown`) if it
    is missing or fails.
    """
    if not file.is_file():
        raise UsageError(f"no such file: {shown}")
    root = package_root(file)
    first = (root,) if root else (file.parent, *(folder.parent for folder in package_folders(file)[-1:]))
    last = (Path.cwd(), *((file.parent.parent,) if root is None and imports_own_folder(file) else ()))
    sha256 = code_sha256(file, (*first, *last))
    content = hashlib.sha256(f"{file.resolve()}\0{sha256}".encode()).hexdigest()
    name = f"{UNIQUE}{file.stem.replace('.', '_')}_{content[:16]}"
    if root is None:
        imports = Imports(first, last)
        return Code(_executed(name, file, shown, imports), file, shown, imports, sha256)
    folders = file.resolve().relative_to(root).parts[:-1]
    if dotted := next((folder for folder in folders if "." in folder), None):
        raise UsageError(f"{shown} has relative imports, but the name of its folder {dotted!r} has a dot: rename it.")
    imports = Imports(first, last, (folders[0], name))
    return Code(_in_package(name, folders, file, shown, imports), file, shown, imports, sha256)


def load_module(name: str, folder: Path) -> Code:
    """Import the module with this dotted `name`, with `folder` importable.

    Raises `UsageError` if there is none or importing it fails.
    """
    from stein_bench.guard import forked_rng

    file, imports = _origin(name, folder), Imports((folder,))
    with running(imports, f"importing {name}", file, file.name if file else name), forked_rng(0):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if name != missing and not name.startswith(f"{missing}."):
                raise
            module = None
    if module is None:
        raise UsageError(f"no module {name!r}, neither in the current directory nor installed.")
    origin: str | None = getattr(module, "__file__", None)  # built-in modules have none
    file = Path(origin) if origin else None
    sha256 = code_sha256(file, (module_root(file, name),)) if file else ""
    return Code(module, file, file.name if file else name, imports, sha256)


def named_object(module: ModuleType, name: str, shown: str) -> Any:
    """Return what a `module`, which errors call `shown`, has under that `name`.

    Raises:
        UsageError: it has nothing of that name; the message has the nearest ones, or all callables that it defines.
    """
    if hasattr(module, name):
        return getattr(module, name)
    own = callable_names(module, own=True)
    near = suggestion(name, callable_names(module)) or (f" It defines {', '.join(own)}." if own else "")
    raise UsageError(f"{shown} has no {name!r}.{near}")


def callable_names(module: ModuleType, *, own: bool = False) -> list[str]:
    """Return the names of the module's public functions and classes, without the imported ones if `own`."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, functools.partial))
        and (not own or getattr(value, "__module__", None) == module.__name__)
    ]


def is_importable(name: str, folder: Path) -> bool:
    """Return whether there is a top-level module `name`, in `folder` or installed, without running it."""
    return _find(name, folder) is not None


def _in_package(unique: str, folders: tuple[str, ...], file: Path, shown: str, imports: Imports) -> ModuleType:
    """Import a file as a module of its package, below a module with a `unique` name for the folder around that."""
    name = ".".join((unique, *folders, file.stem.replace(".", "_")))
    if name in sys.modules:
        return sys.modules[name]
    around = ModuleType(unique)
    around.__path__ = [str(imports.first[0])]
    sys.modules[unique] = around
    try:
        with running(imports, f"importing {shown}", file, shown):
            package = importlib.import_module(".".join((unique, *folders)))
        return package if file.name == "__init__.py" else _executed(name, file, shown, imports)
    except BaseException:
        for loaded in [loaded for loaded in sys.modules if loaded == unique or loaded.startswith(f"{unique}.")]:
            del sys.modules[loaded]
        raise


def _executed(name: str, file: Path, shown: str, imports: Imports) -> ModuleType:
    """Return the module `name`, running `file` unless it has run under this name."""
    from stein_bench.guard import forked_rng

    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise UsageError(f"{shown} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with running(imports, f"importing {shown}", file, shown), forked_rng(0):
            # not by the loader, which may run bytecode cached from another version saved in the same second
            exec(compile(file.read_bytes(), str(file), "exec"), module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


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


def module_root(file: Path, module_name: str) -> Path:
    """Return the folder that the module's dotted name is relative to."""
    depth = len(module_name.split(".")) - (file.name != "__init__.py")
    return file.absolute().parents[depth]


def _find(top: str, folder: Path) -> Path | None:
    try:
        with Imports((folder,)).available():
            spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # ValueError: a loaded module without a spec, such as __main__
        return None
    return Path(spec.origin or "") if spec else None


def _line(error: BaseException, file: Path | None, shown: str) -> str:
    """Return `` (net.py, line 3)`` for the innermost line of the user's `file`, or ``""``."""
    if file is None:
        return ""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return ""  # its message says so already
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" ({shown}, line {lines[-1]})" if lines else ""
