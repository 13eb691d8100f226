"""Parts that other people bring: named by a file or module, installed by a package, or given as a Python object.

The kinds are those of `GROUPS`. A part is what such a name means, with the hash of its source.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from stein_bench.parts.imports import Imports
from stein_bench.parts.source_files import INSTALLED, code_sha256
from stein_bench.parts.user_code import Code, is_importable, load_file, load_module, module_root, named_object, running

GROUPS: Mapping[str, str] = {
    "attack": "stein_bench.attacks",
    "data": "stein_bench.data",
    "model": "stein_bench.models",
    "estimator": "stein_bench.estimators",
    "metric": "stein_bench.metrics",
}
"""Kind of a part → the group of entry points in which installed packages name theirs."""

_CALL = r"(?P<name>[^\W\d]\w*)(?:[:,](?P<rest>.*))?"
_IN_MODULE = re.compile(rf"(?P<home>[^\W\d]\w*(?:\.[^\W\d]\w*)*):{_CALL}", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Part:
    """A part that somebody brings.

    Attributes:
        kind: a key of `GROUPS`.
        spec: how the user names it: ``FILE.py:NAME``, ``package.module:NAME``, or its name in an installed package.
        short: the same without folders, for reports.
        found: the object that this names.
        code: its code.
        origin: the distribution and the object of an installed part, otherwise ``""``.
    """

    kind: str
    spec: str
    short: str
    found: Any = field(repr=False)
    code: Code = field(repr=False)
    origin: str = ""

    @property
    def sha256(self) -> str:
        """The hash of its source, see `user_code.load_file`."""
        return self.code.sha256

    @contextmanager
    def running(self, doing: str) -> Iterator[None]:
        """Run its code in the body; errors become a `UsageError` that says what was being done and on which line."""
        with running(self.code.imports, doing, self.code.file, self.code.shown):
            yield


@dataclass(frozen=True)
class Named:
    """A spec, taken apart.

    Attributes:
        home: the file or module.
        name: the object in it.
        rest: what follows after a colon or comma, ``""`` if nothing.
    """

    home: str
    name: str
    rest: str

    @property
    def is_file(self) -> bool:
        """Whether the home is a file."""
        return self.home.endswith(".py")

    @property
    def spec(self) -> str:
        """The spec without what follows."""
        return f"{os.path.normpath(self.home) if self.is_file else self.home}:{self.name}"


def split_named(spec: str) -> Named | None:
    """Return the parts of ``FILE.py:NAME`` or ``package.module:NAME``, perhaps with arguments; None for other specs.

    Of several readings of a path one whose file exists is taken. A module without a dot must be importable.
    """
    places = [(spec[: at.start() + 3], spec[at.end() :]) for at in re.finditer(r"\.py:", spec)]
    calls = [(home, re.fullmatch(_CALL, call, re.DOTALL)) for home, call in places]
    readings = [Named(home, match["name"], match["rest"] or "") for home, match in calls if match]
    if readings:
        existing = [one for one in readings if Path(os.path.expanduser(one.home)).is_file()]
        return (existing or readings)[0]
    match = _IN_MODULE.fullmatch(spec)
    if match is None:
        return None
    if "." not in match["home"] and not is_importable(match["home"], Path.cwd()):
        return None
    return Named(match["home"], match["name"], match["rest"] or "")


def find_part(kind: str, spec: str) -> tuple[Part, str] | None:
    """Return the part that `spec` names in Python, a file or a module, and what follows its name; None if none.

    Raises:
        UsageError: there is no such file, module or name, or importing it fails.
    """
    match = _IN_MODULE.fullmatch(spec)
    if match is not None and (known := given(kind, f"{match['home']}:{match['name']}")) is not None:
        return known, match["rest"] or ""
    named = split_named(spec)
    return None if named is None else (load_named(kind, named), named.rest)


def load_named(kind: str, named: Named) -> Part:
    """Import the file or module and return the part that it defines under that name.

    Raises:
        UsageError: there is no such file, module or name, or importing it fails.
    """
    shown = os.path.normpath(named.home)
    if named.is_file:
        file = Path(os.path.expanduser(named.home)).absolute()
        code, short = load_file(file, shown), f"{file.name}:{named.name}"
    else:
        code, short = load_module(named.home, Path.cwd()), f"{named.home}:{named.name}"
    return Part(
        kind, named.spec, short, named_object(code.module, named.name, shown if named.is_file else named.home), code
    )


_GIVEN: dict[tuple[str, str], Part] = {}


def python_spec(found: Any) -> str:
    """Return how a Python object is named, ``module:name``, or ``package:name`` in an installed package.

    An object without a name has that of its class.
    """
    bare = unwrapped(found)
    home = str(getattr(bare, "__module__", None) or "__main__")
    name = re.sub(r"\W+", "", bare.__name__) or "unnamed"
    return f"{home.partition('.')[0] if _is_installed(sys.modules.get(home)) else home}:{name}"


def _is_installed(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and any(part in INSTALLED for part in Path(file).parts)


def give(kind: str, found: Any, spec: str | None = None) -> Part:
    """Make a Python object known in this process, so that `spec` means it; a later object replaces an earlier one.

    Args:
        kind: a key of `GROUPS`.
        found: the object.
        spec: by default its `python_spec`.
    """
    spec = spec or python_spec(found)
    part = made_part(kind, found, spec)
    _GIVEN[kind, spec] = part
    return part


def made_part(kind: str, found: Any, spec: str) -> Part:
    """Return a Python object as a part of that `spec`, without making it known."""
    bare = unwrapped(found)
    module = sys.modules.get(getattr(bare, "__module__", "")) or ModuleType("__main__")
    state = "" if kind in ("model", "data") else _state(found)  # those have hashes of their weights and samples
    sha256 = _source_sha256(found, module, state)
    code = getattr(bare, "__code__", None)
    file = None if code is None else Path(code.co_filename)
    return Part(kind, spec, spec, found, Code(module, file, file.name if file else spec, Imports(()), sha256))


@contextmanager
def forgotten() -> Iterator[None]:
    """Run the body; what was given in it is no longer known afterwards, and what it replaced is."""
    before = dict(_GIVEN)
    try:
        yield
    finally:
        _GIVEN.clear()
        _GIVEN.update(before)


def given(kind: str, spec: str) -> Part | None:
    """Return the Python object that was given under that `spec`, or None."""
    return _GIVEN.get((kind, spec))


def unwrapped(found: Any) -> Any:
    """Return what has the object's name and source: a function behind `functools.partial` or decorators, or a class."""
    if isinstance(found, functools.partial):
        return unwrapped(found.func)
    found = inspect.unwrap(found) if callable(found) else found
    return found if hasattr(found, "__name__") else type(found)


def plain_settings(found: Any) -> dict[str, bool | int | float | str]:
    """Return the public attributes of an object that are numbers, words or truth values.

    Functions and classes have none.
    """
    if inspect.isroutine(found) or inspect.isclass(found) or isinstance(found, functools.partial):
        return {}
    attributes = getattr(found, "__dict__", {})
    return {
        name: value
        for name, value in attributes.items()
        if isinstance(value, bool | int | float | str) and not name.startswith("_")
    }


def plain_defaults(parameters: Mapping[str, inspect.Parameter]) -> dict[str, bool | int | float | str]:
    """Return the parameters whose defaults are numbers, words or truth values, with these."""
    return {name: p.default for name, p in parameters.items() if isinstance(p.default, bool | int | float | str)}


def _source_sha256(found: Any, module: ModuleType, state: str) -> str:
    """Return the hash of an object's source and `state`.

    The source is that of its whole module and what that imports, if the module has it. Otherwise (a notebook's cell, a
    function made by another) it is its own source text; then its bytecode.
    """
    source = _source(unwrapped(found), module)
    if re.fullmatch("[0-9a-f]{64}", source) and not state:
        return source  # that of the same module, named on the command line
    return hashlib.sha256(f"{source}{state}".encode()).hexdigest()


_DEPTH = 4
"""So deep are the attributes of attributes followed that tell what determines an object."""
_LONGEST = 100_000
"""Of longer lists and mappings the length is told."""


def _state(found: Any, depth: int = 0) -> str:
    """Return what determines an object besides its source; empty for a function or class of a module.

    That is what `functools.partial` adds, the attributes of an object, and what a function has from around it: values
    that it captures, and defaults of one that is made within another or has no name.
    """
    if isinstance(found, functools.partial):
        added = {str(number): value for number, value in enumerate(found.args)} | found.keywords
        return described(added, depth) + _state(found.func, depth)
    if inspect.ismethod(found):
        return _state(found.__self__, depth) + _state(found.__func__, depth)
    if inspect.isfunction(found):
        return _state_of_function(found, depth)
    if inspect.isroutine(found) or inspect.isclass(found):
        return ""
    attributes = getattr(found, "__dict__", {})
    return described(attributes, depth) if attributes else ""


def _state_of_function(function: Any, depth: int) -> str:
    state = ""
    while function is not None:
        around = dict(inspect.getclosurevars(function).nonlocals) if function.__closure__ else {}
        wrapped = getattr(function, "__wrapped__", None)
        around = {name: value for name, value in around.items() if value is not wrapped}
        if function.__qualname__ != function.__name__ or function.__name__ == "<lambda>":
            defaults = {"defaults": function.__defaults__, "keywords": function.__kwdefaults__}
            around |= {name: value for name, value in defaults.items() if value}
        state += described(around, depth) if around else ""
        function = wrapped
    return state


def described(value: Any, depth: int = 0) -> str:
    """Return text that is equal for equal values, in every process: numbers, text, arrays, and what consists of them.

    Of other objects it has class and attributes, of functions the name; networks, and what is deeper than a few levels,
    are told by their class alone.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    kind = type(value).__qualname__
    if depth >= _DEPTH:
        return kind
    if isinstance(value, Mapping | list | tuple | set | frozenset) and len(value) > _LONGEST:
        return f"{kind} of {len(value)}"
    if isinstance(value, Mapping):
        return kind + str(sorted((str(key), described(one, depth + 1)) for key, one in value.items()))
    if isinstance(value, list | tuple | set | frozenset):
        parts = [described(one, depth + 1) for one in value]
        return kind + str(sorted(parts) if isinstance(value, set | frozenset) else parts)
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a tensor
        value = value.detach().cpu().double().to_dense().numpy()
    if hasattr(value, "tobytes") and hasattr(value, "shape"):
        if value.dtype == object:
            return kind + described(value.tolist(), depth + 1)
        return f"{value.shape} {value.dtype} {hashlib.sha256(value.tobytes()).hexdigest()}"
    if inspect.isroutine(value) or inspect.isclass(value):
        return f"{getattr(value, '__qualname__', kind)}{_state(value, depth + 1)}"
    if hasattr(value, "state_dict") and hasattr(value, "forward"):
        return kind
    return kind + described(dict(getattr(value, "__dict__", {})), depth)


def _source(bare: Any, module: ModuleType) -> str:
    file, name = getattr(module, "__file__", None), getattr(bare, "__name__", "")
    if isinstance(file, str) and module.__name__ != "__main__" and getattr(module, name, None) is bare:
        path = Path(file)
        if path.suffix == ".py" and path.is_file() and not _is_installed(module):  # those are large
            return code_sha256(path, (module_root(path, module.__name__),))
    return source_text(bare)


def source_text(bare: Any) -> str:
    """Return the source of a function or class; if it cannot be read, its bytecode."""
    try:
        return inspect.getsource(bare)
    except (OSError, TypeError):
        pass
    code = getattr(bare, "__code__", None)
    if code is not None:
        return repr((code.co_code, code.co_names, _plain(code.co_consts)))
    if inspect.isclass(bare):
        functions = {name: one for name, one in vars(bare).items() if inspect.isfunction(one)}
        return bare.__qualname__ + repr({name: source_text(one) for name, one in functions.items()})
    return str(getattr(bare, "__qualname__", type(bare).__qualname__))


def _plain(constants: Sequence[Any]) -> list[Any]:
    """Return constants of bytecode without addresses: nested code as its own bytecode."""
    return [(c.co_code, c.co_names, _plain(c.co_consts)) if hasattr(c, "co_code") else c for c in constants]
