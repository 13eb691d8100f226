"""Where a model's code cuts off its gradient, or replaces it by another one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from stein_bench.models.recorded.relaxed import Surrogate
from stein_bench.models.recorded.tape import Forward, Site, called_by_package, calling_site

ROUNDING = 1e-4
"""Largest relative difference between two outputs of the same input that counts as rounding."""


def cuts(model: Forward, inputs: Tensor) -> list[Surrogate]:
    """Return the places at which the gradient of a forward pass ends or is not the function's own.

    These are calls within ``torch.no_grad()``, ``detach``, ways out of torch, hooks on gradients, and custom autograd
    functions.
    """
    watch, outputs = _Watch(), None
    # A model may refuse gradients outright, as with inference tensors.
    with torch.enable_grad(), watch, suppress(RuntimeError):
        outputs = model(inputs.detach().clone().requires_grad_(True))
    functions, inside = [], []
    for function in _custom_functions(outputs) if outputs is not None else ():
        functions.append(Surrogate(f"autograd function {function.__name__}", _lines(function.backward)[0]))
        inside.append(_lines(function.forward))
    found = [one for one in watch.found if not any(_within(one.site, *lines) for lines in inside)]
    return list(dict.fromkeys([*found, *functions]))


@torch.enable_grad()
def differs_with_gradients(model: Forward, inputs: Tensor) -> bool:
    """Return whether the outputs are others when gradients are wanted, beyond rounding; False for a random model."""
    with torch.no_grad():
        first, again = model(inputs.detach()), model(inputs.detach())
    if not torch.equal(first, again):
        return False
    wanted = model(inputs.detach().clone().requires_grad_(True)).detach()
    largest = float(first.abs().amax().clamp_min(torch.finfo(first.dtype).tiny))
    return float((wanted - first).abs().amax()) > ROUNDING * largest


class _Watch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Surrogate] = []

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = any(_has_gradient(found) for found in tree_flatten((args, kwargs or {}))[0])
        result = func(*args, **(kwargs or {}))
        if before and (cut := _cut(getattr(func, "__name__", ""), result)) and not called_by_package():
            self.found.append(Surrogate(cut, calling_site()))
        return result


def _cut(name: str, result: object) -> str:
    """Return how a function of a tensor with a gradient cuts it off, or ``""``."""
    known = {"detach": "detach", "detach_": "detach", "register_hook": "gradient hook"}
    if name in known:
        return known[name]
    if name in ("numpy", "tolist", "item"):
        return name
    if not torch.is_grad_enabled() and isinstance(result, Tensor) and result.is_floating_point():
        return "inference_mode" if torch.is_inference_mode_enabled() else "no_grad"
    return ""


def _has_gradient(found: object) -> bool:
    return isinstance(found, Tensor) and found.requires_grad


def _custom_functions(outputs: Tensor) -> Iterator[type[torch.autograd.Function]]:
    """Yield the custom autograd functions behind `outputs`."""
    seen: set[object] = set()
    waiting = [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [other for other, _ in node.next_functions]
        if isinstance(node, BackwardCFunction):
            yield type(node)._forward_cls


def _lines(function: Callable[..., Any]) -> tuple[Site | None, int]:
    """Return where a function begins, and its number of lines."""
    try:
        lines, first = inspect.getsourcelines(function)
        return Site(inspect.getsourcefile(function) or "", first), len(lines)
    except (OSError, TypeError):
        return None, 0


def _within(site: Site | None, start: Site | None, count: int) -> bool:
    if site is None or start is None:
        return False
    return site.file == start.file and start.line <= site.line < start.line + count
