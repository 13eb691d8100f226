"""Gradients for operations that have none, or only zeros: straight-through and smooth surrogates.

Sources: Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security" (2018), section 4.1, for
the backward pass differentiable approximation (BPDA); Bengio, Léonard and Courville, "Estimating or propagating
gradients through stochastic neurons for conditional computation" (2013), section 4, for the straight-through estimator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SAME = ("round", "round_", "floor", "floor_", "ceil", "ceil_", "trunc", "trunc_", "fix", "fix_")
"""Rounding: the gradient of the identity."""
STEPS = ("sign", "sign_", "sgn", "sgn_", "heaviside", "heaviside_")
CLAMPS = ("clamp", "clamp_min", "clamp_max", "hardtanh")
"""Limits: their gradient stays, and is that of the identity on the limits themselves."""
ORDERS = {"gt": 1.0, "ge": 1.0, "lt": -1.0, "le": -1.0}
"""Comparisons → whether they become true as the first argument grows (1) or falls (-1)."""
WHOLE = ("floor_divide", "div", "divide", "__rshift__", "bitwise_right_shift", "remainder")
NAMED = (
    *SAME, *STEPS, *ORDERS, *CLAMPS, "eq", "argmax", "bucketize", "searchsorted", "floor_divide", "_to_copy", "detach",
    "bernoulli", "where",
)  # fmt: skip
"""Functions whose place in the model's code is worth naming."""


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, hard: Tensor, _soft: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, gradient


def through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return the values of `hard` with the gradient of `soft`; both have the same shape."""
    result: Tensor = _Through.apply(hard.detach().to(soft.dtype), soft)
    return result


def scale(values: Tensor) -> Tensor:
    """Return the standard deviation of each sample's values, or 1 if it is 0: the width over which a step is smoothed.

    The result broadcasts over `values` (n, …). Samples are apart, so that no gradient depends on the batch.
    """
    spread = values.detach().float().flatten(1).std(dim=1, correction=0) if values.ndim > 1 else values.float().abs()
    spread = torch.where(spread > 0, spread, torch.ones_like(spread)).to(values.dtype)
    return spread.view(-1, *[1] * (values.ndim - 1))


def soft_step(values: Tensor) -> Tensor:
    """Return a smooth step from 0 to 1 where `values` cross 0."""
    return torch.sigmoid(2 * values / scale(values))


def soft_sign(values: Tensor) -> Tensor:
    """Return a smooth step from -1 to 1 where `values` cross 0."""
    return torch.tanh(values / scale(values))


def line(first: Tensor, second: Tensor) -> Tensor:
    """Return, sample by sample, the least-squares line through the values of `second` over those of `first`, (n, …).

    Its gradient is that of `first` times the slope, for `second` a processed copy of it.
    """
    a, b = first.detach().flatten(1), second.detach().to(first.dtype).flatten(1)
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    size = (a * a).sum(dim=1)
    slope = torch.where(size > 0, (a * b).sum(dim=1) / size.clamp_min(torch.finfo(a.dtype).tiny), torch.ones_like(size))
    return first * slope.view(-1, *[1] * (first.ndim - 1))


def rescaled(first: Tensor, second: Tensor) -> Tensor:
    """Return `first` (n, C, …) at the scale of `second`, a processed copy of it: a line for each sample and channel.

    Vectors (n, F) are one channel.

    The line runs through the mean values, with the slope of least squares. For a copy that was only normalized, that
    is `second` itself.
    """
    start = min(2, first.ndim - 1)
    a, b = first.detach().flatten(start), second.detach().to(first.dtype).flatten(start)
    means, targets = a.mean(dim=-1, keepdim=True), b.mean(dim=-1, keepdim=True)
    size, both = ((a - means) ** 2).sum(dim=-1), ((a - means) * (b - targets)).sum(dim=-1)
    known = size > torch.finfo(a.dtype).eps
    slope = torch.where(known, both / torch.where(known, size, torch.ones_like(size)), torch.ones_like(size))
    shape = (*first.shape[:start], *[1] * (first.ndim - start))
    return (first - means.view(shape)) * slope.view(shape) + targets.view(shape)
