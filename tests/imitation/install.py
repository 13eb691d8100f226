"""Installing the imitated device: what of torch is replaced, and put back afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch._dynamo  # makes its tables of torch's functions, before these are replaced
from torch import Tensor, nn

from stein_bench.evaluation import attack_choice
from stein_bench.normalization import context
from tests.imitation import device as record
from tests.imitation import factories, runtime
from tests.imitation.device import GIB, Device
from tests.imitation.generators import Generator
from tests.imitation.mimic import Mimic, move, upload

APPLY = nn.Module._apply
CALL = nn.Module.__call__
TO = Tensor.to
LOAD = torch.load
ONE_HOT = nn.functional.one_hot


@contextmanager
def imitation_cuda(total: int = 8 * GIB) -> Iterator[Device]:
    """Install a device of `total` bytes for the duration; afterwards torch is as it was.

    Tensors of the device that outlive it refuse every operation. No memory format is timed, which would be chance.
    """
    with pytest.MonkeyPatch.context() as patch:
        device = Device(total)
        patch.setattr(record, "active", device)
        patch.setattr(attack_choice, "remembered_format", lambda *_: "contiguous")
        patch.setattr(context, "_PLAIN", (*context._PLAIN, Mimic))
        for replace in (_tensors, _modules, factories.replace, runtime.replace):
            replace(patch, device)
        yield device


def count_waits(function: Callable[[], Any]) -> Counter[str]:
    """Return the waits of the installed device while `function` runs, by the line that caused them."""
    before = record.current().waits
    function()
    return record.current().waits - before


def _tensors(patch: pytest.MonkeyPatch, device: Device) -> None:
    def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _to(self, *args, **kwargs)

    def cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
        return move(self, torch.device("cuda"), non_blocking)

    def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
        return move(self, torch.device("cpu"))

    def pin_memory(self: Tensor, *_: Any) -> Tensor:
        if self in device.pinned:
            return self
        return device.pinned.add(self.clone(memory_format=torch.preserve_format))

    for method in (to, cuda, cpu, pin_memory):
        patch.setattr(Tensor, method.__name__, method)
    patch.setattr(Tensor, "is_pinned", lambda self, *_: self in device.pinned)
    patch.setattr(torch, "Generator", Generator)
    patch.setattr(torch, "load", _load)
    patch.setattr(nn.functional, "one_hot", _one_hot)


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to`, in all its forms."""
    copy = kwargs.pop("copy", False)
    other = kwargs.pop("other", args[0] if args and isinstance(args[0], Tensor) else None)
    if other is not None:
        device, dtype, layout = other.device, other.dtype, kwargs.get("memory_format")
        non_blocking = kwargs.get("non_blocking", args[1] if len(args) > 1 else False)
    else:
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
    moved = tensor
    if device is not None and device.type in ("cpu", "cuda"):
        moved, device = move(tensor, device, non_blocking), None
    rest = {"device": device, "dtype": dtype, "memory_format": layout}
    rest = {key: value for key, value in rest.items() if value is not None}
    if copy and moved is tensor:
        rest["copy"] = True
    if not rest:
        return moved
    return TO(moved, **{"dtype": moved.dtype, **rest})


def _load(*args: Any, map_location: Any = None, **kwargs: Any) -> Any:
    if map_location is None or isinstance(map_location, dict) or torch.device(map_location).type != "cuda":
        return LOAD(*args, map_location=map_location, **kwargs)
    loaded = LOAD(*args, map_location="cpu", **kwargs)
    return torch.utils._pytree.tree_map_only(Tensor, upload, loaded)


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """With the classes given CUDA checks nothing, while the CPU looks for the largest label."""
    if not isinstance(tensor, Mimic) or num_classes < 1:
        return ONE_HOT(tensor, num_classes)
    zeros = Mimic(torch.zeros(*tensor.shape, num_classes, dtype=torch.long))
    return zeros.scatter_(-1, tensor.unsqueeze(-1), 1)


def _modules(patch: pytest.MonkeyPatch, device: Device) -> None:
    depth = 0

    def apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Convert parameters in place: on CUDA too they stay the same objects."""
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return APPLY(self, fn, recurse)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if depth == 0 and args and isinstance(args[0], Mimic) and next(self.parameters(), None) is not None:
            device.enter_network(self, args[0])
        depth += 1
        try:
            return CALL(self, *args, **kwargs)
        finally:
            depth -= 1

    patch.setattr(torch.utils, "swap_tensors", _swap)
    patch.setattr(nn.Module, "_apply", apply)
    patch.setattr(nn.Module, "__call__", call)


def _swap(one: Tensor, other: Tensor) -> None:
    """Exchange two tensors behind their Python objects, also while a graph still holds the old one.

    A parameter that is converted to what it is stays as it is, with its place in the graph.
    """
    if one.data_ptr() == other.data_ptr() and one.dtype == other.dtype and one.device == other.device:
        return
    one.__class__, other.__class__ = other.__class__, one.__class__
    one.__dict__, other.__dict__ = other.__dict__, one.__dict__
    torch._C._swap_tensor_impl(one, other)
