"""Which arguments a user's callable gets, and what is wrong with those that the user gives."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from stein_bench.errors import UsageError, suggestion
from stein_bench.parts.arguments import Argument

CHANNELS = ("in_channels", "in_chans")

_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def ordered(factory: Callable[..., Any], given: Mapping[str, Argument], shown: str) -> dict[str, Argument]:
    """Return the arguments in the order of the signature, those of ``**kwargs`` sorted and last.

    Raises `UsageError`, with the nearest name and all names, if the callable (called `shown`) does not take one.
    """
    parameters = _parameters(factory)
    if parameters is None:
        return dict(sorted(given.items()))
    named = [name for name, parameter in parameters.items() if parameter.kind in _BY_KEYWORD]
    for name in given:
        if name not in named and not _takes_any(parameters):
            takes = f"It takes {', '.join(named)}." if named else "It takes none."
            raise UsageError(f"{shown} has no argument {name!r}.{suggestion(name, named)} {takes}")
    known = [name for name in named if name in given]
    return {name: given[name] for name in (*known, *sorted(given.keys() - set(known)))}


def call_arguments(
    factory: Callable[..., Any], given: Mapping[str, Argument], num_classes: int | None, in_channels: int, spec: str
) -> dict[str, Any]:
    """Return all arguments for `factory`: the number of classes and of channels if it accepts them, and those `given`.

    ``num_classes`` is also passed to a callable with ``**kwargs``; the channels only to one that names
    ``in_channels`` or ``in_chans``, because a network with fixed channels would fail on the argument. What the user
    gives wins. Raises `UsageError`, with what to write in `spec`, if a required argument is missing.
    """
    parameters = _parameters(factory)
    arguments: dict[str, Any] = {}
    if parameters is not None:
        named = {name for name, parameter in parameters.items() if parameter.kind in _BY_KEYWORD}
        arguments = {name: in_channels for name in CHANNELS if name in named}
        if num_classes is not None and ("num_classes" in named or _takes_any(parameters)):
            arguments["num_classes"] = num_classes
    arguments |= copy.deepcopy(dict(given))
    missing = [name for name in required(parameters or {}) if name not in arguments]
    if missing:
        names = " and ".join(map(repr, missing))
        example = "".join(f",{name}=VALUE" for name in missing)
        raise UsageError(f"{spec} needs the argument{'s' * (len(missing) > 1)} {names}: write {spec}{example}.")
    return arguments


def loads_weights(factory: Callable[..., Any], given: Mapping[str, Argument]) -> bool:
    """Return whether an argument asks for weights: ``pretrained=true``, or ``weights=NAME``, by default or `given`.

    These are the names that torchvision, timm and the entry points of torch.hub use.
    """
    parameters = _parameters(factory) or {}
    values = {name: parameter.default for name, parameter in parameters.items()} | dict(given)
    pretrained, weights = values.get("pretrained"), values.get("weights")
    asked = isinstance(pretrained, bool | int | str) and bool(pretrained)
    return asked or (isinstance(weights, str | Enum) and bool(weights))


def required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the names of the parameters without a default, which can be given by name."""
    return [
        name
        for name, parameter in parameters.items()
        if parameter.kind in _BY_KEYWORD and parameter.default is inspect.Parameter.empty
    ]


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """Return the parameters by name; None for a built-in callable without a signature."""
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return None


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
