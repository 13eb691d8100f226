"""Extracting logits from a network's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stein_bench.errors import UsageError

KEYS = ("logits", "out")


def logits(output: object) -> Tensor:
    """Return the logits in a network's `output`: (n, classes), (n,) or, for dense tasks, (n, classes, H, W).

    That is the output itself, the entry ``logits`` or ``out`` of a dictionary or named tuple (torchvision's
    GoogLeNet and Inception in training), or the first element of a tuple or list. Raises `UsageError`, naming
    what was found, if that is not a floating-point tensor with a batch dimension. The task checks whether its shape
    fits the labels.
    """
    scores = _unwrapped(output)
    if not isinstance(scores, Tensor):
        raise UsageError(f"the model returned {_described(output)}, expected logits of shape (n, classes).")
    if scores.dim() == 0 or not scores.is_floating_point():
        kind = str(scores.dtype).removeprefix("torch.")
        shape = tuple(scores.shape)
        raise UsageError(f"the model returned {kind} of shape {shape}, expected logits of shape (n, classes).")
    return scores


def _unwrapped(output: Any) -> object:
    if isinstance(output, Mapping):
        return next((output[key] for key in KEYS if key in output), None)
    if isinstance(output, tuple | list):
        named = next((getattr(output, key) for key in KEYS if hasattr(output, key)), None)
        return named if named is not None else next(iter(output), None)
    return output


def _described(output: object) -> str:
    kind = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {kind} with the keys {', '.join(repr(key) for key in output) or 'none'}"
    if isinstance(output, tuple | list):
        return f"a {kind} of {', '.join(type(item).__name__ for item in output) or 'nothing'}"
    return f"an object of type {kind}"
