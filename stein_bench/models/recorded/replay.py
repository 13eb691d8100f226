"""Replays a recorded forward pass with gradients, with surrogates where an operation has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from stein_bench.models.recorded.rules import (
    CLAMPS,
    ORDERS,
    SAME,
    STEPS,
    line,
    rescaled,
    scale,
    soft_sign,
    soft_step,
    through,
)
from stein_bench.models.recorded.tape import Entry, Ref, Tape, is_random, refs


class Replay:
    """The tensors of a `Tape`, computed again with gradients.

    Floating-point tensors keep their values and get a gradient wherever one can be given. A Boolean or whole-number
    tensor cannot carry one: beside it stands its `shadow`, the same values as floating-point numbers.

    Args:
        tape: of a forward pass.
        skip: tensors on the tape → an earlier tensor of the same shape. Their gradient is passed on to that one
            as that of a processed copy, whatever happened in between.
        removed: whether what happened in between is left out altogether, as if it were only a change of scale: all
            later values are then others than those recorded.

    Attributes:
        replaced: entries whose gradient is a surrogate.
    """

    def __init__(self, tape: Tape, skip: Mapping[int, int] | None = None, *, removed: bool = False) -> None:
        self.tape, self.skip, self.removed = tape, skip or {}, removed
        self.replaced: list[Entry] = []
        self.values: dict[int, Tensor] = {}
        self.shadows: dict[int, Tensor] = {}
        self._argmax_of: dict[int, tuple[Tensor, int | None]] = {}
        self._complete: dict[int, list[int]] = {}
        for index in self.skip:
            self._complete.setdefault(tape.last_write(index), []).append(index)

    def run(self, inputs: Tensor) -> None:
        """Compute all tensors from `inputs`, whose values are those that were recorded."""
        self.values[0] = inputs.view_as(inputs) * 1  # no leaf, so that operations may write into it
        with torch.enable_grad():
            for position, entry in enumerate(self.tape.entries):
                self._position = position
                self._compute(entry)
                for index in self._complete.get(position, ()):
                    self.values[index] = self._skipped_to(self.value(self.skip[index]), self.value(index))

    def value(self, index: int) -> Tensor:
        """Return the tensor at that place; a shadow where there is one."""
        return self.shadows.get(index, self.values[index])

    def _compute(self, entry: Entry) -> None:
        if entry.function is None:
            self._outside(entry)
            return
        if is_random(entry.function):
            self._random(entry)
            return
        args, kwargs = self._arguments(entry)
        if entry.writes:
            self._make_room(entry)
            args, kwargs = self._arguments(entry)
        result = self._call(entry, args, kwargs)
        for ref, tensor in zip(refs(entry.results), _tensors(result), strict=True):
            self._store(entry, ref.index, tensor)

    def _call(self, entry: Entry, args: Any, kwargs: Any) -> Any:
        try:
            return entry.function(*args, **kwargs)
        except NotImplementedError:
            # no derivative: the values alone
            with torch.no_grad():
                return entry.function(*args, **kwargs)

    def _store(self, entry: Entry, index: int, tensor: Tensor) -> None:
        self.shadows.pop(index, None)
        self._argmax_of.pop(index, None)
        self.values[index] = tensor
        soft = self._surrogate(entry, index, tensor)
        if soft is not None and soft.shape == tensor.shape and soft.requires_grad:
            marked = through(tensor, soft)
            if tensor.is_floating_point():
                self.values[index] = marked.to(tensor.dtype)
            else:
                self.shadows[index] = marked
            # Of clamps only those of images: others are activations, such as ReLU6.
            if entry.name in _WORTH_NAMING or (entry.name in CLAMPS and tensor.shape == self.values[0].shape):
                self.replaced.append(entry)

    def _surrogate(self, entry: Entry, index: int, result: Tensor) -> Tensor | None:
        """Return a tensor whose gradient stands in for that of `result`, or None if it has one or none is known."""
        name = entry.name.removesuffix("_") if entry.name != "_to_copy" else entry.name
        kept = (*SAME, *STEPS, *CLAMPS, "div", "floor_divide")
        has_gradient, divides = _has_gradient(result), name == "div" and entry.kwargs.get("rounding_mode") is None
        if has_gradient and divides:  # through its denominator alone, if the numerator is of whole numbers
            return self._by_same_function(entry, result)
        if has_gradient and name not in kept:
            return None
        operands = [self._operand(found) for found in entry.args]
        first = operands[0] if operands and isinstance(operands[0], Tensor) else None
        if entry.writes and name in (*SAME, *STEPS, *CLAMPS):
            first = self._before
        if name in SAME or name == "detach":
            return first
        if name in CLAMPS:  # also at the very edge of the range, from where an image can still move inwards
            return None if first is None else torch.where(first == result, first, result.detach())
        if name in STEPS:
            return None if first is None else soft_step(first) if name == "heaviside" else soft_sign(first)
        if name in ORDERS and len(operands) > 1:
            difference = operands[0] - operands[1]
            return soft_step(ORDERS[name] * difference.expand(result.shape)) if difference.requires_grad else None
        if name == "argmax":
            axis = entry.args[1] if len(entry.args) > 1 else entry.kwargs.get("dim")
            if first is not None and axis is not None:
                self._argmax_of[index] = first, int(axis)
            return None
        if name in _SAME_INDEX and entry.inputs() and entry.inputs()[0] in self._argmax_of:
            self._argmax_of[index] = self._argmax_of[entry.inputs()[0]]
            return None
        if name in ("scatter", "eq"):
            return self._one_hot(entry, operands, result)
        if name == "where" and len(operands) == 3:
            condition, yes, no = operands
            return no + condition * (yes - no) if _has_gradient(condition) else None
        if name in ("div", "floor_divide", "bitwise_right_shift", "__rshift__") and len(operands) > 1 and not divides:
            by = operands[1]
            return None if first is None else first / (2**by if "shift" in name else by)
        if name == "bitwise_and":
            return first
        soft = self._by_same_function(entry, result)
        return self._by_resemblance(entry, result) if soft is None else soft

    def _by_same_function(self, entry: Entry, result: Tensor) -> Tensor | None:
        """Return the operation on the shadows of its arguments, such as a sum of whole numbers."""
        if not any(index in self.shadows for index in entry.inputs()):
            return None
        args, kwargs = tree_map(self._operand, (entry.args, entry.kwargs), is_leaf=_is_leaf)
        if entry.name == "_to_copy":
            source: Tensor = args[0]
            return source.to(result.dtype) if result.is_floating_point() else source
        try:
            soft = entry.function(*args, **kwargs)
        except (RuntimeError, TypeError, IndexError, NotImplementedError):
            return None
        return soft if isinstance(soft, Tensor) and soft.is_floating_point() else None

    def _by_resemblance(self, entry: Entry, result: Tensor) -> Tensor | None:
        """Return the nearest tensor behind `result` that has a gradient and resembles it, as after a lookup."""
        if entry.name == "_to_copy" and not result.is_floating_point() and result.dtype != torch.bool:
            cast: Tensor = self._operand(entry.args[0])  # to whole numbers
            return cast
        if result.ndim < 2 or (not result.is_floating_point() and entry.name not in ("bucketize", "searchsorted")):
            return None
        for index in sorted(self._behind(entry), reverse=True):
            other = self.value(index)
            if not other.requires_grad or other.shape != result.shape:
                continue
            if self.tape.resemblance(("within", self._position, index), other, result, len(self.values[0])):
                return line(other, result)
        return None

    def _behind(self, entry: Entry) -> set[int]:
        """Return all tensors on the tape that go into an operation, directly or not."""
        makers = {ref.index: other for other in self.tape.entries for ref in refs(other.results)}
        found: set[int] = set()
        waiting = list(entry.inputs())
        while waiting:
            index = waiting.pop()
            if index not in found and index in self.values:
                found.add(index)
                waiting += makers[index].inputs() if index in makers else []
        return found

    def _one_hot(self, entry: Entry, operands: list[Any], result: Tensor) -> Tensor | None:
        """Return the softmax behind a one-hot vector made from an argmax or a maximum."""
        for index in entry.inputs():
            if index in self._argmax_of:
                source, axis = self._argmax_of[index]
                if source.shape == result.shape and axis is not None:
                    return torch.softmax(source / scale(source), dim=axis)
        if entry.name != "eq" or len(operands) < 2 or not all(isinstance(found, Tensor) for found in operands[:2]):
            return None
        first, second = operands[:2]
        larger = first if first.numel() >= second.numel() else second
        if larger.requires_grad and larger.shape == result.shape and larger.ndim > 1:
            return torch.softmax(larger, dim=1)
        return None

    def _outside(self, entry: Entry) -> None:
        index, tensor = entry.results.index, entry.values[0]
        if not entry.args:
            self.values[index] = tensor.clone()
            return
        source = self.value(entry.args[0].index)
        self.values[index] = through(tensor, line(source, tensor)) if source.requires_grad else tensor
        self.replaced.append(entry)

    def _skipped_to(self, source: Tensor, tensor: Tensor) -> Tensor:
        """Return what stands for `tensor`, the processed copy of `source`, if what made it is passed over."""
        if self.removed:
            return rescaled(source, tensor).to(tensor.dtype)
        return through(tensor, line(source, tensor)).to(tensor.dtype) if source.requires_grad else tensor

    def _random(self, entry: Entry) -> None:
        """Take the numbers that were drawn; those of `bernoulli` get the gradient of their probability."""
        for ref, tensor in zip(refs(entry.results), entry.values, strict=True):
            self.shadows.pop(ref.index, None)
            self.values[ref.index] = tensor.clone()
            first = self._operand(entry.args[0]) if entry.args and not entry.writes else None
            if not isinstance(first, Tensor) or not _has_gradient(first) or not tensor.is_floating_point():
                continue
            if entry.name == "bernoulli":
                self.values[ref.index] = through(tensor, first)
                self.replaced.append(entry)
            elif entry.name == "native_dropout":
                kept = entry.values[1].to(tensor.dtype) / (1 - float(entry.args[1]))
                self.values[ref.index] = first * kept

    def _make_room(self, entry: Entry) -> None:
        """Let an operation write into a copy, so that no value that the backward pass needs is lost."""
        target = entry.args[0]
        if isinstance(target, Ref) and entry.name.removesuffix("_") in (*SAME, *STEPS, *CLAMPS):
            self._before = self.value(target.index).clone()  # the operation changes the tensor itself
        if not isinstance(target, Ref):
            return
        if self.tape.shares_memory(target.index):
            _ = self.values[target.index].grad_fn  # lets autograd learn that another view was written to
        else:
            self.values[target.index] = self.values[target.index].clone()

    def _arguments(self, entry: Entry) -> Any:
        def found(leaf: Any) -> Any:
            return self.values[leaf.index] if isinstance(leaf, Ref) else leaf

        return tree_map(found, (entry.args, entry.kwargs), is_leaf=_is_leaf)

    def _operand(self, leaf: Any) -> Any:
        """Return an argument with its gradient."""
        if isinstance(leaf, Ref):
            return self.value(leaf.index)
        return leaf

    _before: Tensor | None = None
    _position = 0


_WORTH_NAMING = {
    *SAME, *STEPS, *ORDERS, "eq", "argmax", "bucketize", "searchsorted", "floor_divide", "_to_copy", "index",
    "embedding", "gather", "scatter", "take", "where",
}  # fmt: skip


_SAME_INDEX = ("unsqueeze", "squeeze", "view", "clone", "_to_copy", "alias")
"""Functions that leave the numbers that an argmax returned as they are."""


def _is_leaf(found: Any) -> bool:
    return isinstance(found, Ref)


def _tensors(tree: Any) -> list[Tensor]:
    return [found for found in tree_flatten(tree)[0] if isinstance(found, Tensor)]


def _has_gradient(found: object) -> bool:
    return isinstance(found, Tensor) and found.is_floating_point() and found.requires_grad
