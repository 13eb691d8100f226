"""Extracting logits from a network's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from stein_bench.errors import UsageError

LOGITS = "logits"
NAMES = ("out", "output", "pred", "preds", "prediction", "predictions", "y_hat")
"""Names for scores besides ``logits``; torchvision's segmentation networks say ``out``."""

EXPECTED = "expected logits of shape (n, classes)"


def logits(output: object) -> Tensor:
    """Return the logits in a network's `output`: (n, classes), (n,) or, for dense tasks, (n, classes, H, W).

    That is the output itself, or the first element of a tuple or list, or a tensor of a dictionary, named tuple,
    dataclass or other object with attributes (transformers' ``ModelOutput``): the one called ``logits``, else the one
    with a name of `NAMES`, else, in a dictionary or dataclass, the only one. The task checks whether its shape fits the
    labels.

    Raises `UsageError`, naming what was found, if there is no such tensor or more than one, or if it is not a
    floating-point tensor with a batch dimension.
    """
    scores = _unwrapped(output)
    if not isinstance(scores, Tensor):
        raise UsageError(f"the model returned {_described(output)}, {EXPECTED}.")
    if scores.dim() == 0 or not scores.is_floating_point():
        raise UsageError(
            f"the model returned {_kind(scores)} of shape {tuple(scores.shape)}, {EXPECTED}{_hint(scores)}."
        )
    return scores


def per_sample(scores: Tensor) -> Tensor:
    """Return scores (n, K, 1, 1, …), one position per sample, as (n, K), and others as they are.

    Networks whose last layer is a convolution return them for a class per sample; for a class per pixel they are the
    scores of an image of one pixel.
    """
    if scores.dim() > 2 and all(side == 1 for side in scores.shape[2:]):
        return scores.flatten(1)
    return scores


def check_float32(scores: Tensor) -> None:
    """Raise `UsageError` if scores of a network that was to run in float32 have half precision."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        raise UsageError(
            f"the model returned {_kind(scores)} under --precision fp32, so it computes in half precision by itself: "
            "remove half() or autocast from its code, or evaluate it with --precision bf16."
        )


def _unwrapped(output: Any) -> object:
    if isinstance(output, Tensor):
        return output
    named = _named(output)
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if LOGITS in tensors:
        return tensors[LOGITS]
    known = [name for name in NAMES if name in tensors]
    if known:
        return tensors[known[0]] if len(known) == 1 else None
    if isinstance(output, tuple | list):
        return next(iter(output), None)
    return next(iter(tensors.values())) if len(tensors) == 1 else None


def _named(output: Any) -> Mapping[Any, object]:
    """Return the entries of a mapping, the fields of a dataclass, or the attributes that may hold scores."""
    if isinstance(output, Mapping):
        return output
    names: tuple[str, ...] = (LOGITS, *NAMES)
    if is_dataclass(output) and not isinstance(output, type):
        names = tuple(dict.fromkeys((*(entry.name for entry in fields(output)), *names)))
    return {name: getattr(output, name) for name in names if hasattr(output, name)}


def _described(output: object) -> str:
    kind = type(output).__name__
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        return f"a {kind} of {', '.join(type(item).__name__ for item in output) or 'nothing'}"
    named = output._asdict() if hasattr(output, "_asdict") else _named(output)
    tensors = [f"{key!r} {tuple(value.shape)}" for key, value in named.items() if isinstance(value, Tensor)]
    if tensors:
        return f"a {kind} with {', '.join(tensors)} (which are the logits? call them 'logits', or return them alone)"
    if isinstance(output, Mapping):
        return f"a {kind} with the keys {', '.join(repr(key) for key in output) or 'none'}"
    return f"an object of type {kind}"


def _kind(scores: Tensor) -> str:
    return str(scores.dtype).removeprefix("torch.")


def _hint(scores: Tensor) -> str:
    """Return what to do about outputs that look like class indices."""
    if scores.dim() == 0 or scores.is_complex():
        return ""
    return ": return the scores that its argmax or threshold is taken of, not class indices"
