"""Runs an attack that somebody brings on one batch, and checks what it returns and what it leaves behind.

Whatever it does to the model is undone, so that nothing of it reaches the verification of its results.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stein_bench.attacks.brought import SOURCE, Budget, OwnAttack
from stein_bench.errors import RunError, SteinBenchError
from stein_bench.guard import forked_rng
from stein_bench.memory import ran_out
from stein_bench.seeds import derive_seed
from stein_bench.specs import ParameterValue


def run_own(
    own: OwnAttack,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str,
    params: Mapping[str, ParameterValue],
    seeds: Sequence[int],
) -> Tensor:
    """Return the candidate adversarial inputs, of the shape of `inputs`.

    Args:
        own: the attack.
        model: in eval mode with frozen parameters; maps [0, 1] to logits.
        inputs, labels: the batch; the attack gets copies.
        eps, norm, params: budget and parameters.
        seeds: one per sample; the attack gets one for the batch, which also seeds the global random numbers.

    Raises:
        RunError: it raised an exception, returned something else than inputs of that shape and type, changed its
            inputs or the model, left it in train mode, or reseeded the global random numbers.
    """
    name, seed = own.part.short, derive_seed(*seeds) % 2**31
    given, targets = inputs.clone(), labels.clone()
    plain = {key: value for key, value in params.items() if key != SOURCE}
    with (
        _unchanged(model, name), _surroundings(name), forked_rng(seed), _noticed_reseeding(name, seed),
        torch.enable_grad(),
    ):  # fmt: skip
        found = _called(own, name, lambda: own.call(model, given, targets, Budget(eps, norm, seed), plain))
    if not torch.equal(given, inputs) or not torch.equal(targets, labels):
        what = "inputs" if torch.equal(targets, labels) else "labels"
        raise RunError(f"attack {name} changes its {what} in place: let it work on a copy ({what}.clone()).")
    return _checked(found, inputs, name)


def _called(own: OwnAttack, name: str, call: Callable[[], Any]) -> Any:
    """Call the attack; its errors become a `RunError` with the line, except for memory that runs out."""
    out_of_memory: Exception | None = None
    found = None
    try:
        with own.part.running(f"attack {name}"), redirect_stdout(sys.stderr):
            try:
                found = call()
            except Exception as error:
                if not ran_out(error):
                    raise
                out_of_memory = error
    except SteinBenchError as error:
        raise RunError(str(error)) from error
    if out_of_memory is not None:
        raise out_of_memory
    return found


def _checked(found: Any, inputs: Tensor, name: str) -> Tensor:
    if not isinstance(found, Tensor):
        raise RunError(f"attack {name} returned a {type(found).__name__}, not a tensor of adversarial inputs.")
    for what, of in (("shape", tuple), ("dtype", str), ("device", str)):
        is_, should = (of(getattr(one, what)) for one in (found, inputs))
        if is_ != should:
            raise RunError(f"attack {name} returned {what} {is_} for inputs of {what} {should}.")
    if found.layout != torch.strided:
        raise RunError(f"attack {name} returned a tensor of layout {found.layout}, not a dense one.")
    return found.detach()


@contextmanager
def _unchanged(model: nn.Module, name: str) -> Iterator[None]:
    """Run the body and restore the model: its flags, parameters, submodules and hooks.

    Raises:
        RunError: one of them had changed; not if the body raises another error.
    """
    modules = [(module, [dict(kept) for kept in _registries(module)]) for module in model.modules()]
    flags = {module: module.training for module, _ in modules if hasattr(module, "training")}
    methods = {module: vars(module).get("forward") for module, _ in modules}
    parameters = [(key, parameter, parameter.detach().clone()) for key, parameter in model.named_parameters()]
    settings = {module: _settings(module) for module, _ in modules}
    gradients = [(parameter, parameter.grad) for _, parameter, _ in parameters]
    for parameter, _ in gradients:
        parameter.grad = None  # a change of the model's type would reach it
    problem = ""
    try:
        yield
        if any(module.training and not flags[module] for module in flags):
            problem = "leaves the model in train mode: end with model.eval()"
    finally:
        for module, registries in modules:
            for what, kept, before in zip(_REGISTRIES, _registries(module), registries, strict=True):
                if not _same_objects(kept, before):
                    problem = problem or f"leaves other {what} in the model ({type(module).__name__})"
                    kept.clear()
                    kept.update(before)
            if vars(module).get("forward") is not methods[module]:
                problem = problem or f"leaves another forward method in the model ({type(module).__name__})"
                vars(module).pop("forward")
                vars(module).update({} if methods[module] is None else {"forward": methods[module]})
        for module, flag in flags.items():
            module.training = flag
        for module, before in settings.items():
            changed = [key for key, value in _settings(module).items() if before.get(key, _ABSENT) != value]
            changed += [key for key in before if key not in vars(module)]
            if changed and type(module).__module__.startswith(("torch.", "stein_bench.normalization")):
                problem = problem or f"changes {changed[0]} of a layer of the model ({type(module).__name__})"
            for key in changed:  # of layers of the user's own in silence: they may count or remember something
                vars(module).pop(key, None)
            vars(module).update({key: before[key] for key in changed if key in before})
        with torch.no_grad():
            for key, parameter, value in parameters:
                if (parameter.dtype, parameter.shape, parameter.device) != (value.dtype, value.shape, value.device):
                    problem = problem or f"changes the type or shape of the model's parameters ({key})"
                    parameter.data = value
                elif not _equal(parameter, value):
                    problem = problem or f"changes the model's parameters ({key})"
                    parameter.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
    if problem:
        raise RunError(f"attack {name} {problem}.")


_ABSENT = object()
_OF_WRAPPERS = ("training", "forward_passes", "backward_passes")
"""Attributes that change as an attack works."""


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module that are numbers, words or truth values."""
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, bool | int | float | str | None) and key not in _OF_WRAPPERS
    }


@contextmanager
def _surroundings(name: str) -> Iterator[None]:
    """Run the body and restore torch's default dtype and the working directory.

    Raises:
        RunError: the default dtype had changed.
    """
    dtype, folder = torch.get_default_dtype(), os.getcwd()
    try:
        yield
    finally:
        changed = torch.get_default_dtype() != dtype
        torch.set_default_dtype(dtype)
        os.chdir(folder)
    if changed:
        raise RunError(f"attack {name} changes torch's default dtype.")


_REGISTRIES = {
    "layers": "_modules",
    "parameters": "_parameters",
    "hooks": "_forward_hooks",
    "hooks before layers": "_forward_pre_hooks",
    "hooks of gradients": "_backward_hooks",
    "hooks before gradients": "_backward_pre_hooks",
}
"""What is registered with a module, and where."""


def _registries(module: nn.Module) -> list[dict[str, Any]]:
    return [getattr(module, attribute) for attribute in _REGISTRIES.values()]


def _same_objects(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    """Return whether two dictionaries hold the same objects (equality of tensors would be elementwise)."""
    return one.keys() == other.keys() and all(value is other[key] for key, value in one.items())


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal; NaN equals NaN."""
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())


@contextmanager
def _noticed_reseeding(name: str, seed: int) -> Iterator[None]:
    """Run the body, and raise a `RunError` if it reseeded the global random numbers with another seed than its own.

    With a seed of its own choice an attack draws the same numbers for every batch and every run.
    """
    calls: list[str] = []

    def watched(module: Any, what: str) -> Callable[..., Any]:
        original = module.seed

        def reseed(*arguments: Any, **named: Any) -> Any:
            if (*arguments, *named.values()) != (seed,):
                calls.append(what)
            return original(*arguments, **named)

        return reseed

    before = np.random.seed, random.seed
    np.random.seed, random.seed = watched(np.random, "np.random.seed"), watched(random, "random.seed")
    try:
        yield
    finally:
        np.random.seed, random.seed = before
    if torch.initial_seed() != seed:
        calls.append("torch.manual_seed")
    if calls:
        raise RunError(
            f"attack {name} reseeds the global random numbers ({calls[0]}), so that all batches and runs would get the "
            "same ones: use the seed that it is given."
        )
