"""A user's own network: ``FILE.py:CALLABLE`` or ``package.module:CALLABLE``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stein_bench.errors import UsageError, suggestion
from stein_bench.models.interface import digest
from stein_bench.models.source_files import code_sha256, loaded_sha256
from stein_bench.models.user_code import import_file, import_named, running

if TYPE_CHECKING:
    from torch import nn

_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class UserModel:
    """A user's callable that returns a network.

    `file` is its source file, or None; errors call it `shown`. `folder` is importable while the callable runs.
    `code` is the hash of its source files.
    """

    spec: str
    name: str
    factory: Callable[..., Any]
    file: Path | None
    shown: str
    folder: Path
    code: str
    pretrained: None = None

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Call the user's callable with the arguments that its signature accepts.

        See `ModelSource.build`. Raises `UsageError` if it fails or does not return a network.
        """
        from torch import nn

        if pretrained:
            raise UsageError(f"{self.spec} has no pretrained weights; give a weights file.")
        arguments = accepted_arguments(self.factory, num_classes, in_channels)
        with running(self.folder, f"calling {self.spec}", self.file, self.shown):
            network = self.factory(**arguments)
        if not isinstance(network, nn.Module):
            raise UsageError(f"{self.spec} returned {_article(type(network).__name__)}, not a torch.nn.Module.")
        return network

    def fingerprint(self) -> str:
        """Return the hash of the callable's file, the files of its folder that it imports, and all other loaded code.

        Installed packages are excluded.
        """
        return digest("user", self.code, loaded_sha256())


def find_in_file(path: str, attribute: str) -> UserModel:
    """Return the callable `attribute` of the Python file at `path` (relative, absolute or with ``~``)."""
    file = Path(os.path.expanduser(path)).absolute()
    shown = os.path.normpath(path)
    module = import_file(file, shown)
    return UserModel(
        spec=f"{shown}:{attribute}",
        name=f"{file.stem}.{attribute}",
        factory=_callable(module, attribute, shown),
        file=file,
        shown=shown,
        folder=file.parent,
        code=code_sha256(file, file.parent),
    )


def find_in_module(module_name: str, attribute: str) -> UserModel:
    """Return the callable `attribute` of a module that is in the current directory or installed."""
    folder = Path.cwd()
    module = import_named(module_name, folder)
    origin: str | None = getattr(module, "__file__", None)  # built-in modules have none
    file = Path(origin) if origin else None
    return UserModel(
        spec=f"{module_name}:{attribute}",
        name=f"{module_name.rpartition('.')[2]}.{attribute}",
        factory=_callable(module, attribute, module_name),
        file=file,
        shown=file.name if file else module_name,
        folder=folder,
        code=code_sha256(file, _root(file, module_name)) if file else "",
    )


def accepted_arguments(factory: Callable[..., Any], num_classes: int | None, in_channels: int) -> dict[str, int]:
    """Return the arguments for `factory` that its signature accepts.

    ``num_classes`` is also passed to a callable with ``**kwargs``; the channels only to one that names
    ``in_channels`` or ``in_chans``, because a network with fixed channels would fail on the argument.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return {}
    named = {parameter.name for parameter in parameters if parameter.kind in _BY_KEYWORD}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    arguments: dict[str, int] = {name: in_channels for name in ("in_channels", "in_chans") if name in named}
    if num_classes is not None and (takes_any or "num_classes" in named):
        arguments["num_classes"] = num_classes
    return arguments


def _callable(module: ModuleType, attribute: str, shown: str) -> Callable[..., Any]:
    from torch import nn

    if not hasattr(module, attribute):
        own = _callables(module, own=True)
        near = suggestion(attribute, _callables(module))
        near = near or (f" It defines {', '.join(own)}." if own else "")
        raise UsageError(f"{shown} has no {attribute!r}.{near}")
    found = getattr(module, attribute)
    if isinstance(found, nn.Module):
        raise UsageError(f"{shown}:{attribute} is a network; name a class or function that returns one.")
    if not callable(found):
        raise UsageError(f"{shown}:{attribute} is {_article(type(found).__name__)}, which cannot be called.")
    factory: Callable[..., Any] = found
    return factory


def _callables(module: ModuleType, *, own: bool = False) -> list[str]:
    """Return the names of the module's public functions and classes, without the imported ones if `own`."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or inspect.isclass(value))
        and (not own or value.__module__ == module.__name__)
    ]


def _root(file: Path, module_name: str) -> Path:
    """Return the folder that the module's dotted name is relative to."""
    depth = len(module_name.split(".")) - (file.name != "__init__.py")
    return file.absolute().parents[depth]


def _article(noun: str) -> str:
    return noun if noun == "NoneType" else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
