"""A user's callable that returns data: ``FILE.py:CALLABLE`` or ``package.module:CALLABLE``, with arguments."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from stein_bench.errors import UsageError, suggestion, unknown_name
from stein_bench.models.user_code import import_file, import_named, is_importable, running
from stein_bench.specs import ParameterValue, parse_arguments

_FILE = re.compile(r"(?P<home>.+\.py):(?P<name>[^:,]*)(?:,(?P<arguments>.*))?", re.DOTALL)
_MODULE = re.compile(
    r"(?P<home>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)(?:,(?P<arguments>.*))?", re.DOTALL
)
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, eq=False)
class UserCode:
    """The callable `name` of a Python file or a module, `home`, found from the `folder`.

    Unpickling it imports the file or module.
    """

    home: str
    name: str
    arguments: Mapping[str, ParameterValue]
    folder: Path
    module: ModuleType

    def __reduce__(self) -> tuple[Any, ...]:
        return _imported, (self.home, self.name, dict(self.arguments), self.folder)

    @property
    def spec(self) -> str:
        """The file or module and the callable, for errors."""
        return f"{self.home}:{self.name}"

    @property
    def short(self) -> str:
        """The spec without folders, with arguments, for reports."""
        given = "".join(f",{key}={os.path.basename(str(value))}" for key, value in self.arguments.items())
        return f"{os.path.basename(self.home)}:{self.name}{given}"

    @cached_property
    def file(self) -> Path | None:
        """The source file; None for a module that has none."""
        origin = getattr(self.module, "__file__", None)
        return Path(origin) if origin else None

    def running(self, doing: str) -> AbstractContextManager[None]:
        """Run the user's code in the body; see `models.user_code.running`."""
        shown = self.home if self.home.endswith(".py") else os.path.basename(self.file or self.home)
        return running(self.folder, doing, self.file, shown)

    @cached_property
    def named(self) -> Any:
        """What the module calls `name`; UsageError if nothing, or a network."""
        from torch import nn

        if not hasattr(self.module, self.name):
            own = [
                key
                for key, value in vars(self.module).items()
                if getattr(value, "__module__", "") == self.module.__name__
            ]
            near = suggestion(self.name, own) or (f" It defines {', '.join(own)}." if own else "")
            raise UsageError(f"{self.home} has no {self.name!r}.{near}")
        found = getattr(self.module, self.name)
        if isinstance(found, nn.Module) or (inspect.isclass(found) and issubclass(found, nn.Module)):
            raise UsageError(f"{self.spec} is a network; name a function or class that returns data")
        return found

    @cached_property
    def split_argument(self) -> str | None:
        """``split`` or ``train`` if the callable has an argument of that name that is not given, else None."""
        return next(
            (name for name in ("split", "train") if name in self._accepted and name not in self.arguments), None
        )

    def returned(self, split: str) -> Any:
        """Return what the callable returns for the `split`, ``train`` or ``test``."""
        if not callable(self.named):
            if self.arguments:
                raise UsageError(f"{self.spec} takes no arguments: it is a {type(self.named).__name__}")
            return self.named
        self._check_arguments()
        arguments: dict[str, Any] = dict(self.arguments)
        if self.split_argument is not None:
            arguments[self.split_argument] = split if self.split_argument == "split" else split == "train"
        told = f" with {self.split_argument}={arguments[self.split_argument]!r}" if self.split_argument else ""
        with self.running(f"calling {self.spec}{told}"):
            return self.named(**arguments)

    @cached_property
    def _accepted(self) -> Mapping[str, inspect.Parameter]:
        if not callable(self.named):
            return {}
        try:
            return inspect.signature(self.named).parameters
        except (TypeError, ValueError):  # some built-in callables have no signature
            return {}

    def _check_arguments(self) -> None:
        takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in self._accepted.values())
        names = [name for name, parameter in self._accepted.items() if parameter.kind in _BY_KEYWORD]
        for given in () if takes_any else self.arguments:
            if given not in names:
                raise unknown_name(f"argument of {self.spec}", given, names, hint="" if names else "It takes none.")


def find_code(spec: str) -> UserCode | None:
    """Return the code that a data spec names, imported; None if it does not name any.

    Raises UsageError if the file is missing, or importing it fails.
    """
    if spec.endswith(".py") and ":" not in spec:
        raise UsageError(f"{spec!r} names a file only: write {spec}:CALLABLE, the callable that returns the data.")
    match = _FILE.fullmatch(spec) or _MODULE.fullmatch(spec)
    if not match:
        return None
    home, name = match["home"], match["name"]
    if not home.endswith(".py") and "." not in home and not is_importable(home, Path.cwd()):
        return None
    if not name.isidentifier():
        raise UsageError(f"{spec!r}: {name!r} is no name of a callable; write {home}:CALLABLE")
    arguments = parse_arguments(match["arguments"] or "", repr(spec))
    file = Path(os.path.expanduser(home)).absolute()
    return _imported(os.path.normpath(home), name, arguments, file.parent if home.endswith(".py") else Path.cwd())


def _imported(home: str, name: str, arguments: Mapping[str, ParameterValue], folder: Path) -> UserCode:
    file = home.endswith(".py")
    module = import_file(folder / os.path.basename(home), home) if file else import_named(home, folder)
    return UserCode(home, name, arguments, folder, module)
