"""What a user's code can import while it runs, kept apart from other users' code in the same process."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from stein_bench.parts.source_files import INSTALLED

UNIQUE = "stein_bench_user_"
"""Start of the names under which users' files are in `sys.modules`."""

_OWN_PACKAGE = Path(__file__).parents[1]


_AVAILABLE: list[Imports] = []
"""Those in whose context code is running, the innermost last."""


@dataclass(frozen=True)
class Imports:
    """The folders that a user's code imports from.

    Attributes:
        first: searched before installed packages.
        last: searched after them.
        package: of a file with relative imports, the name of its top-level package, and the unique name under which
            the folder around it is imported. The package is loaded once, also if it imports itself absolutely.
    """

    first: tuple[Path, ...]
    last: tuple[Path, ...] = ()
    package: tuple[str, str] | None = None

    @contextmanager
    def available(self) -> Iterator[None]:
        """Make the folders importable in the body; `sys.path` and `sys.meta_path` are restored afterwards.

        Modules from these folders stay loaded. They are set aside while the code of other folders runs, which may have
        modules of the same names, and forgotten once one of their files has changed.
        """
        if not (self.first or self.last or self.package) or _AVAILABLE[-1:] == [self]:
            yield  # objects and installed packages import as the program does; and this may be a call within a call
            return
        hidden = _hide_others(self)
        own = _still_valid(self)
        before = set(sys.modules)
        sys.modules.update(own)
        path, finders, bytecode = list(sys.path), list(sys.meta_path), sys.dont_write_bytecode
        sys.path[:] = [*map(str, self.first), *path, *map(str, self.last)]
        if self.package is not None:
            sys.meta_path.insert(0, _SamePackage(*self.package))
        # bytecode is matched by the second in which its source was changed: too coarse for a file just edited
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()  # to find files written since the last import
        _AVAILABLE.append(self)
        try:
            yield
        finally:
            _AVAILABLE.pop()
            sys.path[:], sys.meta_path[:], sys.dont_write_bytecode = path, finders, bytecode
            _keep(self, before)
            for name, module in hidden.items():
                sys.modules.setdefault(name, module)


class _SamePackage(MetaPathFinder, Loader):
    """Finds ``package.module`` as the module that is loaded under the unique name."""

    def __init__(self, package: str, unique: str) -> None:
        self._package, self._unique = package, unique
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  (the interface's)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return how to find the module; None if it does not belong to the package or does not exist."""
        if fullname.partition(".")[0] != self._package:
            return None
        try:
            found = importlib.util.find_spec(f"{self._unique}.{fullname}")
        except ModuleNotFoundError:
            return None
        return found and ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module under its unique name, loading it if necessary."""
        module = importlib.import_module(f"{self._unique}.{spec.name}")
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module, which has run, as it was before the import system described it anew."""
        if module.__spec__ is not None:
            module.__spec__ = self._specs.pop(module.__spec__.name)


_LOADED: dict[Imports, tuple[dict[str, ModuleType], str]] = {}
"""The modules loaded from the folders of some code, with the hash of their files."""


def _hide_others(imports: Imports) -> dict[str, ModuleType]:
    """Remove the modules of other code from `sys.modules` and return them."""
    others = [pair for other, (modules, _) in _LOADED.items() if other != imports for pair in modules.items()]
    return {name: sys.modules.pop(name) for name, module in others if sys.modules.get(name) is module}


def _still_valid(imports: Imports) -> Mapping[str, ModuleType]:
    """Return the modules loaded earlier, which leave `sys.modules`; none if one of their files has changed."""
    modules, files = _LOADED.pop(imports, ({}, ""))
    for name, module in modules.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    return modules if files == _hash(modules) else {}


def _keep(imports: Imports, before: set[str]) -> None:
    """Remember the modules that were loaded from the folders, and free the names of installed packages."""
    folders = (*imports.first, *imports.last)
    new = {name: sys.modules[name] for name in sys.modules.keys() - before if not name.startswith(UNIQUE)}
    modules = {name: module for name, module in new.items() if _is_from(_place(module), folders)}
    if modules:  # this runs around every sample of a user's data: what has nothing to remember costs nothing later
        _LOADED[imports] = modules, _hash(modules)
    for name in modules:
        top = name.partition(".")[0]
        elsewhere = PathFinder.find_spec(top)
        if elsewhere is not None and not _is_from(_origin(elsewhere), folders):
            del sys.modules[name]


def _is_from(place: Path | None, folders: Sequence[Path]) -> bool:
    """Return whether a module's file or folder is in one of the folders and not installed there."""
    if place is None or place.is_relative_to(_OWN_PACKAGE) or any(part in INSTALLED for part in place.parts):
        return False
    return any(place.is_relative_to(folder) for folder in folders)


def _place(module: ModuleType) -> Path | None:
    """Return the module's file, or the folder of a package without ``__init__.py``."""
    file = getattr(module, "__file__", None)
    places = [file] if isinstance(file, str) else list(getattr(module, "__path__", ()))
    return Path(places[0]) if places else None


def _origin(spec: ModuleSpec) -> Path | None:
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return Path(places[0]) if places else None


def _hash(modules: Mapping[str, ModuleType]) -> str:
    whole = hashlib.sha256()
    for name, module in sorted(modules.items()):
        place = _place(module)
        whole.update(f"{name}\0".encode())
        whole.update(hashlib.sha256(place.read_bytes()).digest() if place is not None and place.is_file() else b"")
    return whole.hexdigest()
