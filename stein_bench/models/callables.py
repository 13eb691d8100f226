"""A user's own network: ``FILE.py:NAME[,key=value,…]`` or ``package.module:NAME[,…]``, a callable or an instance."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stein_bench.errors import UsageError
from stein_bench.models.instances import Instance
from stein_bench.models.interface import ModelSource, digest
from stein_bench.models.weight_downloads import explained_downloads
from stein_bench.parts.arguments import Argument, parse_call, written
from stein_bench.parts.brought import Part, given
from stein_bench.parts.installed import find_installed
from stein_bench.parts.signatures import call_arguments, loads_weights, ordered
from stein_bench.parts.source_files import loaded_sha256
from stein_bench.parts.user_code import Code, load_file, load_module, named_object, running

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class UserModel:
    """A user's callable that returns a network, with the `arguments` that the user gives.

    `part` is what an installed package brings; None for code that the user names.
    """

    spec: str
    name: str
    factory: Callable[..., Any]
    code: Code
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    pretrained: None = None
    part: Part | None = None

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
    attribute, arguments = parse_call(call, f"{where}:{call}")
    found = named_object(code.module, attribute, shown)
    return _source(found, arguments, f"{where}:{attribute}", f"{short}.{attribute}", code)


def find_brought_model(spec: str) -> ModelSource | None:
    """Return the source of ``NAME[,key=value,…]``, a model that an installed package brings; None if none does.

    Raises:
        UsageError: it cannot be imported, is no callable or network, or does not take the arguments.
    """
    name, arguments = parse_call(spec, spec)
    part = find_installed("model", name)
    return None if part is None else _source(part.found, arguments, name, name, part.code, part)


def given_model(spec: str) -> ModelSource:
    """Return the source of a network that was given as a Python object, see `parts.brought.given_under`.

    Raises:
        UsageError: none was given under this name in this process.
    """
    part = given("model", spec)
    if part is None:
        raise UsageError(f"model {spec!r} was a Python object: give the object again, with stein_bench.evaluate.")
    return Instance(spec, part.short.removeprefix("python:"), part.found, part.code)


def _source(
    found: Any, arguments: Mapping[str, Argument], spec: str, name: str, code: Code, part: Part | None = None
) -> ModelSource:
    from torch import nn

    if isinstance(found, nn.Module):
        if arguments:
            raise UsageError(f"{spec} is a network and takes no arguments; name what builds it.")
        return Instance(spec, name, found, code, part=part)
    if not callable(found):
        raise UsageError(f"{spec} is {_article(type(found).__name__)}, which cannot be called.")
    arguments = ordered(found, arguments, spec)
    text = written(arguments)
    return UserModel(f"{spec}{text}", f"{name}{text}", found, code, arguments, part=part)


def _article(noun: str) -> str:
    return noun if noun == "NoneType" else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
