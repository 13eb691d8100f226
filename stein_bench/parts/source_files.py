"""Source files of a user's network: its own file and the nearby files that it imports."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")
OWN = Path(__file__).resolve().parents[1]
"""stein-bench itself, which is no user's code even where it is not installed."""


def loaded_sha256() -> str:
    """Return the SHA-256 over all currently loaded Python files that belong to no installed distribution.

    A network may depend on any of them: development installs, folders on ``PYTHONPATH``.
    """
    library = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    files, main = set(), sys.modules.get("__main__")
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if module is main or not isinstance(origin, str) or not origin.endswith(".py"):
            continue
        path = Path(origin)
        installed = any(part in INSTALLED for part in path.parts)
        if not installed and not any(path.is_relative_to(folder) for folder in (OWN, *library)) and path.is_file():
            files.add(path.resolve())
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(os.fsencode(path) + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def code_sha256(file: Path, roots: Sequence[Path]) -> str:
    """Return the SHA-256 over `file` and all Python files that it imports, directly or indirectly.

    Absolute imports are looked up in the folders `roots`. Imports are read from the source, so files imported in other
    ways (e.g. by `importlib`) are not covered. Nor are installed packages, except the one that `file` belongs to.
    """
    file = file.resolve()
    whole = hashlib.sha256()
    names = {os.path.relpath(path, file.parent): path for path in _reachable(file, [root.resolve() for root in roots])}
    for name, path in sorted(names.items()):
        whole.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def package_root(file: Path) -> Path | None:
    """Return the folder around the top-level package of a `file` with relative imports; None if it has none.

    The package is as high as folders with ``__init__.py`` go, or higher if a relative import needs it.
    """
    file = file.resolve()
    if not any(level for level, _ in _imports(file)):
        return None
    tops = [path.parents[level - 1] for path in _reachable(file, ()) for level, _ in _imports(path) if level]
    top = min((top for top in tops if file.is_relative_to(top)), key=lambda folder: len(folder.parts))
    while (top / "__init__.py").is_file() and (top.parent / "__init__.py").is_file():
        top = top.parent
    return top.parent


def imports_own_folder(file: Path) -> bool:
    """Return whether a `file` imports from its own folder by name, as ``nets/net.py`` does from ``nets.blocks``."""
    return any(not level and dotted[0] == file.resolve().parent.name for level, dotted in _imports(file))


def package_folders(file: Path) -> list[Path]:
    """Return the folders of the packages around `file`, those with ``__init__.py``, innermost first."""
    return list(takewhile(lambda folder: (folder / "__init__.py").is_file(), file.parents))


def _reachable(file: Path, roots: Sequence[Path]) -> set[Path]:
    found: set[Path] = set()
    waiting = [file, *(folder / "__init__.py" for folder in package_folders(file))]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for level, dotted in _imports(path):
            bases = [path.parents[level - 1]] if 0 < level <= len(path.parents) else () if level else roots
            located = (source for base in bases for source in _sources(dotted, base))
            waiting += [
                source
                for source in located
                if _distribution(source) in (None, _distribution(file)) and not source.is_relative_to(OWN)
            ]
    return found


def _imports(path: Path) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return number of leading dots and dotted name of all that a file may import."""
    return _imports_of(path.read_bytes())


@lru_cache(maxsize=1024)
def _imports_of(source: bytes) -> tuple[tuple[int, tuple[str, ...]], ...]:
    try:
        return tuple(_named(ast.parse(source)))
    except (SyntaxError, ValueError):
        return ()


def _named(tree: ast.AST) -> Iterator[tuple[int, tuple[str, ...]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            yield node.level, module
            for alias in node.names:  # a name imported from a package may be one of its modules
                yield node.level, (*module, alias.name)


def _sources(dotted: tuple[str, ...], root: Path) -> Iterator[Path]:
    """Yield the files of a module or package and of its parent packages, which run first."""
    for depth in range(len(dotted)):
        base = root.joinpath(*dotted[:depth], dotted[depth])
        for candidate in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if candidate.is_file():
                yield candidate.resolve()


def _distribution(path: Path) -> tuple[str, ...] | None:
    """Return the path up to the top-level package if it is installed, otherwise None."""
    depth = next((depth for depth, part in enumerate(path.parts) if part in INSTALLED), None)
    return None if depth is None else path.parts[: depth + 2]
