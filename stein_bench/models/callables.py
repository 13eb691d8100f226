"""A user's own network: ``FILE.py:NAME[,key=value,…]`` or ``package.module:NAME[,…]``, a callable or an instance."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stein_bench.errors import UsageError, suggestion
from stein_bench.models.instances import Instance
from stein_bench.models.interface import ModelSource, digest
from stein_bench.models.weight_downloads import explained_downloads
from stein_bench.parts.arguments import Argument, parse_call, written
from stein_bench.parts.signatures import call_arguments, loads_weights, ordered
from stein_bench.parts.source_files import loaded_sha256
from stein_bench.parts.user_code import Code, load_file, load_module, running

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class UserModel:
    """A user's callable that returns a network, with the `arguments` that the user gives."""

    spec: str
    name: str
    factory: Callable[..., Any]
    code: Code
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    pretrained: None = None

    def build(self, *, num_classes: int | None, in_channels: int = 3, pretrained: bool = False) -> nn.Module:
        """Call the user's callable with the user's arguments and those of ours that its signature accepts.

        See `ModelSource.build`. Raises `UsageError` if it fails or does not return a network.
        """
        from torch import nn

        if pretrained:
            raise UsageError(f"{self.spec} has no pretrained weights; give a weights file.")
        arguments = call_arguments(self.factory, self.arguments, num_classes, in_channels, self.spec)
        code = self.code
        with running(code.imports, f"calling {self.spec}", code.file, code.shown), explained_downloads(self.spec):
            network = self.factory(**arguments)
        if not isinstance(network, nn.Module):
            raise UsageError(f"{self.spec} returned {_article(type(network).__name__)}, not a torch.nn.Module.")
        return network

    @property
    def own_weights(self) -> bool:
        """Whether an argument asks for weights: ``pretrained=true`` or ``weights=NAME``, given or by default."""
        return loads_weights(self.factory, self.arguments)

    @property
    def origin_of_weights(self) -> str:
        """The call that loads them."""
        return f"those that {self.spec} loads"

    def fingerprint(self) -> str:
        """Return the hash of the callable's file, the files that it imports, all other loaded code, and the arguments.

        Installed packages are excluded.
        """
        given = [written(self.arguments)] if self.arguments else []
        return digest("user", self.code.sha256, loaded_sha256(), *given)


def find_in_file(path: str, call: str) -> ModelSource:
    """Return the callable or network in the Python file at `path` (relative, absolute or with ``~``)."""
    file = Path(os.path.expanduser(path)).absolute()
    shown = os.path.normpath(path)
    return find_in_code(load_file(file, shown), call, shown, shown, file.stem)


def find_in_module(module_name: str, call: str) -> ModelSource:
    """Return the callable or network in a module that is in the current directory or installed."""
    code = load_module(module_name, Path.cwd())
    return find_in_code(code, call, module_name, module_name, module_name.rpartition(".")[2])


def find_in_code(code: Code, call: str, where: str, shown: str, short: str) -> ModelSource:
    """Return the source for ``NAME[,key=value,…]`` in imported code.

    Args:
        code: the code.
        call: name and arguments.
        where: what stands before the colon in the spec.
        shown: what errors call the code.
        short: what stands before the point in the source's name.

    Raises:
        UsageError: there is no such callable or network, or it does not take the arguments.
    """
    from torch import nn

    attribute, given = parse_call(call, f"{where}:{call}")
    found = _found(code.module, attribute, shown)
    if isinstance(found, nn.Module):
        if given:
            raise UsageError(f"{where}:{attribute} is a network and takes no arguments; name what builds it.")
        return Instance(f"{where}:{attribute}", f"{short}.{attribute}", found, code)
    if not callable(found):
        raise UsageError(f"{where}:{attribute} is {_article(type(found).__name__)}, which cannot be called.")
    given = ordered(found, given, f"{where}:{attribute}")
    text = written(given)
    return UserModel(f"{where}:{attribute}{text}", f"{short}.{attribute}{text}", found, code, given)


def _found(module: ModuleType, attribute: str, shown: str) -> Any:
    if not hasattr(module, attribute):
        own = callable_names(module, own=True)
        near = suggestion(attribute, callable_names(module))
        near = near or (f" It defines {', '.join(own)}." if own else "")
        raise UsageError(f"{shown} has no {attribute!r}.{near}")
    return getattr(module, attribute)


def callable_names(module: ModuleType, *, own: bool = False) -> list[str]:
    """Return the names of the module's public functions and classes, without the imported ones if `own`."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, functools.partial))
        and (not own or getattr(value, "__module__", None) == module.__name__)
    ]


def _article(noun: str) -> str:
    return noun if noun == "NoneType" else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
