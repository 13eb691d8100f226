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
from typing import Any, ClassVar

from stein_bench.errors import UsageError
from stein_bench.parts.arguments import Argument, parse_call, written
from stein_bench.parts.brought import Part, given
from stein_bench.parts.imports import Imports
from stein_bench.parts.installed import installed
from stein_bench.parts.signatures import ordered, required
from stein_bench.parts.user_code import Code, is_importable, load_file, load_module, named_object, running

_FILE = re.compile(r"(?P<home>.+?\.py):(?P<call>.*)", re.DOTALL)
_MODULE = re.compile(r"(?P<home>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<call>[A-Za-z_]\w*(?:,.*)?)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class UserCode:
    """The callable `name` of a Python file or a module, `home`, found from the `folder`.

    Unpickling it imports the file or module. `part` is what an installed package brings, None for code that the user
    names.
    """

    verb: ClassVar[str] = "returned"
    give: ClassVar[str] = "return"
    """What errors say that the callable did, and what to do."""

    home: str
    name: str
    arguments: Mapping[str, Argument]
    folder: Path
    code: Code
    part: Part | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _imported, (self.home, self.name, dict(self.arguments), self.folder)

    @property
    def in_ids(self) -> str:
        """What ids of samples begin with."""
        return self.name

    @property
    def spec(self) -> str:
        """The file or module and the callable, for errors."""
        return f"{self.home}:{self.name}"

    @property
    def short(self) -> str:
        """The spec without folders, with arguments, for reports."""
        bare = {key: os.path.basename(v) if isinstance(v, str) else v for key, v in self.arguments.items()}
        return f"{os.path.basename(self.home)}:{self.name}{written(bare)}"

    def running(self, doing: str) -> AbstractContextManager[None]:
        """Run the user's code in the body; see `parts.user_code.running`."""
        return running(self.code.imports, doing, self.code.file, self.code.shown)

    @cached_property
    def named(self) -> Any:
        """What the module calls `name`; UsageError if nothing, or a network."""
        from torch import nn

        found = named_object(self.code.module, self.name, self.home)
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
        arguments: dict[str, Any] = dict(ordered(self.named, self.arguments, self.spec))
        self._check_required()
        if self.split_argument is not None:
            arguments[self.split_argument] = split if self.split_argument == "split" else split == "train"
        told = f" with {self.split_argument}={arguments[self.split_argument]!r}" if self.split_argument else ""
        with self.running(f"calling {self.spec}{told}"):
            return self.named(**arguments)

    def _check_required(self) -> None:
        given = {*self.arguments, self.split_argument}
        missing = [name for name in required(self._accepted) if name not in given]
        if missing:
            example = "".join(f",{name}=VALUE" for name in missing)
            raise UsageError(f"{self.spec} needs {' and '.join(map(repr, missing))}: write {self.spec}{example}")

    @cached_property
    def _accepted(self) -> Mapping[str, inspect.Parameter]:
        if not callable(self.named):
            return {}
        try:
            return inspect.signature(self.named).parameters
        except (TypeError, ValueError):  # some built-in callables have no signature
            return {}


@dataclass(frozen=True, eq=False)
class BroughtCode(UserCode):
    """Data, or what returns data, of an installed package (`home` is empty, `name` that of the entry point)."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _installed, (self.name, dict(self.arguments))

    @property
    def spec(self) -> str:
        return self.name

    @property
    def short(self) -> str:
        return f"{self.name}{written(self.arguments)}"

    @cached_property
    def named(self) -> Any:
        """What the package brings."""
        assert self.part is not None
        return self.part.found


@dataclass(frozen=True, eq=False)
class GivenData(UserCode):
    """A data set, arrays or a loader that was given as a Python object, `value`, under the name ``python:NAME``.

    In another process it is a name without the object, which is sent by itself if it can be.
    """

    value: Any = None
    verb: ClassVar[str] = "is"
    give: ClassVar[str] = "give"

    def __reduce__(self) -> tuple[Any, ...]:
        return _without_value, (self.name,)

    @property
    def spec(self) -> str:
        return f"python:{self.name}"

    @property
    def short(self) -> str:
        return self.name

    @property
    def in_ids(self) -> str:
        """The same for arrays, a data set and a loader, which may hold the same samples."""
        return "python"

    split_argument = None

    def returned(self, split: str) -> Any:
        """Return the object, whatever the split."""
        del split
        if self.value is None:
            raise UsageError(f"data {self.spec} was a Python object that cannot be sent to other processes: workers=0.")
        return self.value


def find_brought_data(spec: str) -> UserCode | None:
    """Return ``NAME[,key=value,…]``, data of an installed package, or the Python object given as ``python:NAME``.

    Raises UsageError if it cannot be imported, or the object was not given in this process.
    """
    if spec.startswith("python:"):
        part = given("data", spec)
        if part is None:
            raise UsageError(f"data {spec!r} was a Python object: give the object again, with stein_bench.evaluate.")
        return GivenData("", spec.removeprefix("python:"), {}, Path.cwd(), part.code, value=part.found)
    name, arguments = parse_call(spec, spec)
    return None if installed("data").get(name) is None else _installed(name, arguments)


def _installed(name: str, arguments: Mapping[str, Argument]) -> UserCode:
    part = installed("data")[name].load()
    return BroughtCode("", name, arguments, Path.cwd(), part.code, part)


def _without_value(name: str) -> UserCode:
    return GivenData("", name, {}, Path.cwd(), Code(ModuleType(name), None, name, Imports(()), ""))


def find_code(spec: str) -> UserCode | None:
    """Return the code that a data spec names, imported; None if it does not name any.

    Raises UsageError if the file is missing, or importing it fails.
    """
    if spec.endswith(".py") and ":" not in spec:
        raise UsageError(f"{spec!r} names a file only: write {spec}:CALLABLE, the callable that returns the data.")
    match = _FILE.fullmatch(spec) or _MODULE.fullmatch(spec)
    if not match:
        return None
    home = match["home"]
    if not home.endswith(".py") and "." not in home and not is_importable(home, Path.cwd()):
        return None
    name, arguments = parse_call(match["call"], spec)
    if not name.isidentifier():
        raise UsageError(f"{spec!r}: {name!r} is no name of a callable; write {home}:CALLABLE")
    file = Path(os.path.expanduser(home)).absolute()
    return _imported(os.path.normpath(home), name, arguments, file.parent if home.endswith(".py") else Path.cwd())


def _imported(home: str, name: str, arguments: Mapping[str, Argument], folder: Path) -> UserCode:
    is_file = home.endswith(".py")
    code = load_file(folder / os.path.basename(home), home) if is_file else load_module(home, folder)
    return UserCode(home, name, arguments, folder, code)
