"""Source files of a user's network: its own file and the nearby files that it imports."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

INSTALLED = ("site-packages", "dist-packages")


def loaded_sha256() -> str:
    """Return the SHA-256 over all currently loaded Python files that belong to no installed distribution.

    A network may depend on any of them: development installs, folders on ``PYTHONPATH``.
    """
    own = Path(__file__).parents[1]
    library = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    files = set()
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if name == "__main__" or not isinstance(origin, str) or not origin.endswith(".py"):
            continue
        path = Path(origin)
        installed = any(part in INSTALLED for part in path.parts)
        if not installed and not any(path.is_relative_to(folder) for folder in (own, *library)) and path.is_file():
            files.add(path.resolve())
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(os.fsencode(path) + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def code_sha256(file: Path, root: Path) -> str:
    """Return the SHA-256 over `file` and all Python files under `root` that it imports, directly or indirectly.

    Imports are read from the source, so files imported in other ways (e.g. by `importlib`) are not covered. Nor
    are installed packages, except the one that `file` belongs to.
    """
    whole = hashlib.sha256()
    for path in sorted(_reachable(file.resolve(), root.resolve())):
        name = path.relative_to(root.resolve()) if path.is_relative_to(root.resolve()) else path.name
        whole.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _reachable(file: Path, root: Path) -> set[Path]:
    found: set[Path] = set()
    around = file.relative_to(root).parts[:-1] if file.is_relative_to(root) else ()
    waiting = [file, *_sources(around, root)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        located = (source for dotted in _imports(path, root) for source in _sources(dotted, root))
        waiting += [source for source in located if _belongs(source, file, root)]
    return found


def _imports(path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """Yield the dotted names that a file may import, as absolute names from `root`."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            package = _package(path, root, node.level)
            module = (*package, *(node.module.split(".") if node.module else ()))
            yield module
            for alias in node.names:  # a name imported from a package may be one of its modules
                yield (*module, alias.name)


def _package(path: Path, root: Path, level: int) -> tuple[str, ...]:
    """Return the dotted name of the package that `level` leading dots refer to in the file `path`."""
    if level == 0 or not path.is_relative_to(root):
        return ()
    parents = path.relative_to(root).parts[:-1]
    return parents[: len(parents) - (level - 1)]


def _sources(dotted: tuple[str, ...], root: Path) -> Iterator[Path]:
    """Yield the files of a module or package and of its parent packages, which run first."""
    for depth in range(len(dotted)):
        base = root.joinpath(*dotted[:depth], dotted[depth])
        for candidate in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if candidate.is_file():
                yield candidate.resolve()


def _belongs(source: Path, file: Path, root: Path) -> bool:
    if not source.is_relative_to(root):
        return False
    if not any(part in INSTALLED for part in source.parts):
        return True
    return source.relative_to(root).parts[0] == file.relative_to(root).parts[0]
