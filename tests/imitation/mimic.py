"""The tensor of the imitated device: memory on the CPU behind a tensor that says ``cuda:0``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward

from tests.imitation import generators
from tests.imitation.device import current
from tests.imitation.kernels import KERNELS
from tests.imitation.rules import cause

CUDA = torch.device("cuda", 0)
NOT_NUMPY = (
    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
)
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
TAKE_NUMBERS = ("aten::fill", "aten::fill_", "aten::masked_fill", "aten::masked_fill_", *INDEXING[1:])
"""Operations that take a CPU tensor of one number, like all pointwise ones."""
DATA = Tensor.data


class Mimic(Tensor):
    """A tensor on the imitated device.

    For torch's own code in C++ it is a CPU tensor, since without a GPU the autograd engine knows no other; what Python
    sees is overridden here.

    Attributes:
        inner: the CPU tensor with its memory, outside of autograd.
        lease: its part in the device's memory.
    """

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Mimic:
        lease = current().memory.lease(inner)
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device="cpu", requires_grad=False,
        )  # fmt: skip
        made.inner, made.lease = inner, lease
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @property
    def data(self) -> Tensor:
        """The same memory outside of autograd."""
        return DATA.__get__(self)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Mimic) or value.stride() != self.stride() or value.dtype != self.dtype:
            raise NotImplementedError("the imitation only takes data of the same device, layout and dtype")
        self.inner, self.lease = value.inner, value.lease

    def get_device(self) -> int:
        return 0

    def is_pinned(self, *_: Any) -> bool:
        return False

    def record_stream(self, _: Any) -> None:
        pass

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(NOT_NUMPY)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(NOT_NUMPY)

    def tolist(self) -> Any:
        current().wait("tolist")
        return self.inner.tolist()

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None, requires_grad: bool = False) -> Tensor:
        made = upload(torch.tensor(data, dtype=dtype or self.dtype))
        return made.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        current().wait("print")
        return f"Mimic({self.inner!r})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else repr(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Mimic:
        if not self.is_leaf:
            raise RuntimeError("only leaves of the graph can be copied deeply")
        copied = Mimic(self.inner.clone(memory_format=torch.preserve_format)).requires_grad_(self.requires_grad)
        copied._is_param = getattr(self, "_is_param", False)
        if self.grad is not None:
            copied.grad = self.grad.__deepcopy__(memo)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        current().wait("device to host")
        return self.inner.__reduce_ex__(protocol)


class _Facts(NamedTuple):
    name: str
    takes_numbers: bool
    writes: tuple[int, ...]
    changes_metadata: bool


@cache
def _facts(func: Any) -> _Facts:
    schema, pointwise = func._schema, torch.Tag.pointwise in func.tags
    aliases = [argument.alias_info for argument in schema.arguments]
    writes = tuple(i for i, alias in enumerate(aliases) if alias is not None and alias.is_write)
    return _Facts(schema.name, pointwise or schema.name in TAKE_NUMBERS, writes, torch.Tag.inplace_view in func.tags)


def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run one operation on the memory of its arguments, as CUDA would: refuse, count waits, compute."""
    device, facts = current(), _facts(func)
    if facts.changes_metadata:
        raise NotImplementedError(f"the imitation has no {facts.name}, which changes a tensor's shape in place")
    if facts.name == "aten::copy_":
        return _copy(*args, **kwargs)
    owners: dict[int, Mimic] = {}
    strangers: list[Tensor] = []
    inner_args = _inner(args, owners, strangers)
    inner_kwargs = {key: _inner(value, owners, strangers) for key, value in kwargs.items()}
    for stranger in strangers:
        _admit(facts, args, stranger)
    generator = kwargs.get("generator")
    if generator is not None and not generators.is_cuda(generator):
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    what = cause(facts.name, args, kwargs)
    if what is not None:
        device.wait(what)
    result = KERNELS.get(func, func)(*inner_args, **inner_kwargs)
    return _outer(result, owners if facts.writes else {})


def _inner(value: Any, owners: dict[int, Mimic], strangers: list[Tensor]) -> Any:
    """Replace the tensors of the device by their memory; note them and the others."""
    if isinstance(value, Mimic):
        owners[id(value.inner)] = value
        return value.inner
    if isinstance(value, Tensor):
        strangers.append(value)
        return value
    if isinstance(value, list | tuple):
        return [_inner(item, owners, strangers) for item in value]
    return value


def _outer(result: Any, owners: Mapping[int, Mimic]) -> Any:
    """Undo `_inner` for results: tensors that were written to are those of the caller."""
    if isinstance(result, Tensor):
        owner = owners.get(id(result))
        return Mimic(result) if owner is None else owner
    if isinstance(result, list | tuple):
        return type(result)(_outer(item, owners) for item in result)
    return result


def _admit(facts: _Facts, args: Sequence[Any], stranger: Tensor) -> None:
    """Refuse a CPU tensor among those of the device, unless CUDA takes it."""
    written = any(position < len(args) and args[position] is stranger for position in facts.writes)
    if facts.name in INDEXING and isinstance(args[0], Mimic) and any(stranger is item for item in args[1]):
        _count_upload(stranger, non_blocking=False)
    elif _is_formula():
        return
    elif written or stranger.dim() > 0 or not facts.takes_numbers:
        current().refuse_mix(f"{facts.name} with a CPU tensor of shape {tuple(stranger.shape)}")


def _is_formula() -> bool:
    """Return whether the operation is part of one of torch's own formulas for gradients.

    Their zeros for gradients that are not needed are made where autograd believes the tensor to be: on the CPU.
    """
    frame = sys._getframe(4)  # over this function, `_admit`, `run` and `__torch_dispatch__`
    return frame.f_code is _engine_run_backward.__code__


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy within the device, onto it, or from it."""
    if not isinstance(source, Mimic):
        _count_upload(source, non_blocking)
        target.inner.copy_(source)
    elif isinstance(target, Mimic):
        target.inner.copy_(source.inner)
    elif non_blocking:
        current().copy("device to host")
        current().finish_later(target, source.inner)
    else:
        current().wait("device to host")
        target.copy_(source.inner)
    return target


def _count_upload(source: Tensor, non_blocking: bool) -> None:
    if non_blocking and source in current().pinned:
        current().copy("host to device")
    else:
        current().wait("host to device")


class _Upload(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, non_blocking: bool) -> Tensor:
        _count_upload(source, non_blocking)
        return Mimic(source.detach().clone(memory_format=torch.preserve_format))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return download(grad, False), None


class _Download(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Mimic, non_blocking: bool) -> Tensor:
        value = source.inner
        if not non_blocking:
            current().wait("device to host")
            return value.clone(memory_format=torch.preserve_format)
        current().copy("device to host")
        host = current().pinned.add(torch.empty_like(value))
        current().finish_later(host, value)
        return host

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return upload(grad), None


def upload(source: Tensor, non_blocking: bool = False) -> Tensor:
    """Return a copy of a CPU tensor on the device; the gradient flows back."""
    copied: Tensor = _Upload.apply(source, non_blocking)
    return copied


def download(source: Tensor, non_blocking: bool = False) -> Tensor:
    """Return a copy of a tensor of the device on the CPU; the gradient flows back."""
    copied: Tensor = _Download.apply(source, non_blocking)
    return copied


def move(tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
    """Return `tensor` on the imitated device or the CPU; the gradient flows back."""
    if isinstance(tensor, Mimic) == (device.type == "cuda"):
        return tensor
    return upload(tensor, non_blocking) if device.type == "cuda" else download(tensor, non_blocking)
