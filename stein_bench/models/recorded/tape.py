"""The operations of a forward pass, recorded without gradients.

A model can hide its gradients in many ways: `round`, `detach`, a `no_grad` block, a custom autograd function whose
backward pass returns zeros, noise that is only added when a gradient is wanted. What it computes without gradients is
the same plain sequence of operations in all these cases. It is recorded below autograd, so that it can be replayed with
gradients (`rules`).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ALIKE = 0.2
"""Least correlation of a tensor with an earlier one for it to count as a processed copy of that. Noise has less: four
standard deviations of the correlation of n independent values are 4/√n, which is the limit for few values."""
FEWEST_VALUES = 8
"""Fewest values per batch at which a correlation means anything."""


class Resemblance:
    """Judges which tensors are processed copies of others, by their correlation.

    That of whole batches is judged once and kept by the place of the two tensors in the forward pass: what the first
    batch shows holds for all later ones, so that no gradient depends on which samples are in a batch. Parts of a batch,
    such as single images in a loop, are judged every time: their places are other samples' in the next batch.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], bool] = {}
        self._closed = False

    def close(self) -> None:
        """Keep no further judgments."""
        self._closed = True

    def __call__(self, place: tuple[str, int, int], first: Tensor, second: Tensor, samples: int) -> bool:
        """Return whether `second` is a copy of `first`, for a whole batch of `samples` as judged first."""
        whole = len(second) == samples
        if whole and place in self._known:
            return self._known[place]
        alike = second.numel() >= FEWEST_VALUES and abs(correlation(first, second)) >= least_alike(second)
        if whole and not self._closed:
            self._known[place] = alike
        return alike


@dataclass(frozen=True)
class Ref:
    """The place of a tensor on the tape."""

    index: int


def refs(tree: Any) -> list[Ref]:
    """Return the places on the tape that `tree` names."""
    return [found for found in tree_flatten(tree)[0] if isinstance(found, Ref)]


@dataclass(frozen=True)
class Site:
    """A line of the model's code."""

    file: str
    line: int


@dataclass
class Entry:
    """One operation.

    Attributes:
        function: of ``torch.ops.aten``, or None for a tensor that no operation on the tape made: a processed copy of
            its only argument that came back from outside torch or, without arguments, a constant.
        args, kwargs: its arguments; tensors on the tape are replaced by a `Ref`, others are constants.
        results: what it returned, with a `Ref` for every tensor.
        values: the recorded tensors of `results`; copies for random functions and where there is no function.
        site: where the model's code called it.
        writes: whether it changes its first argument.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: Any
    values: list[Tensor]
    site: Site | None
    writes: bool = False

    @property
    def name(self) -> str:
        """The name of the function, such as ``round``."""
        if self.function is None:
            return "outside torch"
        return str(self.function.overloadpacket.__name__)

    def inputs(self) -> list[int]:
        """Return the places of its arguments on the tape."""
        return [ref.index for ref in refs((self.args, self.kwargs))]


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operations that depend on `inputs` while it is active; use it without gradients.

    Args:
        inputs: the inputs of the forward pass, (n, C, …).
        named: functions whose place in the model's code is recorded.
        resemblance: judges which tensors are copies that came back from outside torch.

    Attributes:
        entries: the operations in order.
        tensors: the tensors on the tape; number 0 is `inputs`.
    """

    def __init__(self, inputs: Tensor, named: Container[str] = (), resemblance: Resemblance | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._named = named
        self.resemblance = resemblance or Resemblance()
        self._foreign = 0
        self.entries: list[Entry] = []
        self.tensors: list[Tensor] = []
        self._places: dict[int, int] = {}
        self._storages: dict[int, list[int]] = {}
        self._views: dict[int, list[tuple[Any, tuple[Any, ...], dict[str, Any], Tensor]]] = {}
        self._kept: list[Tensor] = []
        self._learned: set[int] = set()
        self._users: dict[int, list[Entry]] = {}
        self._add(inputs)

    def place(self, tensor: Tensor) -> int | None:
        """Return the place of `tensor`, or of one that is the same part of the same memory; None if there is none."""
        found = self._places.get(id(tensor))
        if found is not None:
            return found
        pointer = _pointer(tensor)
        for index in reversed(self._storages.get(pointer, [])) if pointer else ():
            other = self.tensors[index]
            if _layout(other) == _layout(tensor):
                self._places[id(tensor)] = index
                self._kept.append(tensor)
                return index
        return None

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        flat = [found for found in tree_flatten((args, kwargs))[0] if isinstance(found, Tensor)]
        for tensor in flat:
            self._notice_copy(tensor)
        tracked = any(self.place(tensor) is not None for tensor in flat)
        writes = _writes(func)
        if writes and tracked and self.place(args[0]) is None:
            self._adopt(args[0])
        elif writes and not tracked:
            self._preserve(args[0])
        args_before, kwargs_before = self._referred((args, kwargs)) if tracked else ((), {})
        result = func(*args, **kwargs)
        outputs = [found for found in tree_flatten(result)[0] if isinstance(found, Tensor)]
        if not tracked:
            self._remember_views(func, args, kwargs, flat, outputs)
            return result
        for tensor in outputs:
            if id(tensor) not in self._places:
                self._add(tensor)
        entry = Entry(func, args_before, kwargs_before, self._referred(result), outputs, None, writes)
        if entry.name in self._named:
            entry.site = calling_site()
        if is_random(func):  # its values are wanted as they are now; later operations may change them in place
            entry.values = [tensor.clone() for tensor in outputs]
        for tensor in flat:
            if self.place(tensor) is None:
                self._users.setdefault(_pointer(tensor), []).append(entry)
        self.entries.append(entry)
        return result

    def _preserve(self, target: Tensor) -> None:
        """Give earlier operations that used `target` as a constant a copy of it: it is about to change."""
        pointer = _pointer(target)

        def kept(found: Any) -> Any:
            return found.clone() if isinstance(found, Tensor) and _pointer(found) == pointer else found

        for entry in self._users.pop(pointer, []):
            entry.args, entry.kwargs = tree_map(kept, (entry.args, entry.kwargs))

    def _add(self, tensor: Tensor) -> int:
        index = len(self.tensors)
        self.tensors.append(tensor)  # kept alive, so that neither its id nor its memory is given to another one
        self._places[id(tensor)] = index
        pointer = _pointer(tensor)
        if pointer:
            self._storages.setdefault(pointer, []).append(index)
        return index

    def _referred(self, tree: Any) -> Any:
        def refer(found: Any) -> Any:
            if not isinstance(found, Tensor):
                return found
            place = self.place(found)
            return found if place is None else Ref(place)

        return tree_map(refer, tree)

    def last_write(self, index: int) -> int:
        """Return the number of the last entry that makes the tensor at that place, or writes into its memory."""
        memory = _pointer(self.tensors[index])
        found = 0
        for number, entry in enumerate(self.entries):
            target = entry.args[0] if entry.writes else None
            written = isinstance(target, Ref) and 0 != memory == _pointer(self.tensors[target.index])
            if written or Ref(index) in refs(entry.results):
                found = number
        return found

    def shares_memory(self, index: int) -> bool:
        """Return whether another tensor on the tape lies in the same memory."""
        return len(self._storages.get(_pointer(self.tensors[index]), [])) > 1

    # Tensors that do not depend on the inputs, until something that does is written into them.

    def _remember_views(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Tensor], outputs: list[Tensor]
    ) -> None:
        for tensor in outputs:
            pointer = _pointer(tensor)
            if pointer and any(_pointer(other) == pointer and other is not tensor for other in inputs):
                self._views.setdefault(pointer, []).append((func, args, kwargs, tensor))

    def _adopt(self, target: Tensor) -> None:
        """Put `target` on the tape as a constant, with the tensors whose memory it shares."""
        views = self._views.pop(_pointer(target), [])
        for func, args, kwargs, view in views:
            for base in args:
                if isinstance(base, Tensor) and self.place(base) is None and _pointer(base) == _pointer(target):
                    self._constant(base)
            args_referred, kwargs_referred = self._referred((args, kwargs))
            self._add(view)
            self.entries.append(Entry(func, args_referred, kwargs_referred, Ref(self._places[id(view)]), [view], None))
        if self.place(target) is None:
            self._constant(target)

    def _constant(self, tensor: Tensor) -> None:
        index = self._add(tensor)
        self.entries.append(Entry(None, (), {}, Ref(index), [tensor.clone()], None))

    # Tensors that left torch and came back changed.

    def _notice_copy(self, tensor: Tensor) -> None:
        """Put a tensor on the tape that resembles one of the same shape there, as after a way through NumPy."""
        if not tensor.is_floating_point() or id(tensor) in self._learned or self.place(tensor) is not None:
            return
        self._learned.add(id(tensor))
        self._kept.append(tensor)
        if tensor.ndim < 2 or isinstance(tensor, torch.nn.Parameter):
            return
        for index in range(len(self.tensors) - 1, -1, -1):
            other = self.tensors[index]
            if other.shape == tensor.shape and other.is_floating_point() and other.device == tensor.device:
                self._foreign += 1
                if self.resemblance(("outside", self._foreign, index), other, tensor, len(self.tensors[0])):
                    place = self._add(tensor)
                    self.entries.append(Entry(None, (Ref(index),), {}, Ref(place), [tensor.clone()], calling_site()))
                return


def least_alike(tensor: Tensor) -> float:
    """Return the least correlation with which another tensor of its shape is a processed copy of it."""
    return max(ALIKE, 4 / math.sqrt(max(tensor.numel(), 1)))


def correlation(first: Tensor, second: Tensor) -> float:
    """Return the correlation of the values of two tensors of the same shape, over all of them; 0 if one is constant."""
    a, b = first.detach().double().flatten(), second.detach().double().flatten()
    a, b = a - a.mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size > 0 else 0.0


def slope(first: Tensor, second: Tensor) -> float:
    """Return the slope of the least-squares line from the values of `first` to those of `second`."""
    a, b = first.detach().double().flatten(), second.detach().double().flatten()
    a = a - a.mean()
    size = float(a @ a)
    return float(a @ (b - b.mean())) / size if size > 0 else 0.0


def _pointer(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse tensors and the like have none
        return 0


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype


def _writes(func: Any) -> bool:
    """Return whether an operation changes its first argument."""
    arguments = func._schema.arguments
    return bool(arguments) and arguments[0].alias_info is not None and bool(arguments[0].alias_info.is_write)


def is_random(func: Any) -> bool:
    """Return whether an operation draws random numbers."""
    # Attention kernels could drop weights at random; in evaluation they do not.
    return torch.Tag.nondeterministic_seeded in func.tags and "attention" not in str(func)


def calling_site() -> Site | None:
    """Return the innermost line of code that is neither torch's nor this package's own."""
    return next(_frames(), None)


def called_by_package() -> bool:
    """Return whether this package's own code makes the call, as in the preprocessing, not the model's."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _RECORDED, "<")):
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and frame.f_code.co_filename.startswith(_OURS)


def _frames() -> Iterator[Site]:
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not _is_ours(file):
            yield Site(file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]


_TORCH = os.path.dirname(torch.__file__) + os.sep
_RECORDED = os.path.dirname(__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(__file__))) + os.sep


def _is_ours(file: str) -> bool:
    return file.startswith((_TORCH, _OURS, "<"))


Forward = Callable[[Tensor], Tensor]


@torch.no_grad()
def record(
    model: Forward, inputs: Tensor, named: Container[str] = (), resemblance: Resemblance | None = None
) -> tuple[Tape, Tensor]:
    """Run `model` on `inputs` (n, C, …) without gradients; return the operations and the outputs."""
    tape = Tape(inputs.detach(), named, resemblance)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its kernels have no derivative
    try:
        with tape:
            outputs = model(tape.tensors[0])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return tape, outputs
