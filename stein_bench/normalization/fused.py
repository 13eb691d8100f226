"""Normalization with batch statistics in as few passes over the elements as plain BN.

The forward pass is one reduction, to the moments, and one elementwise pass; the backward pass is one reduction, to
the gradients of the moments, and the elementwise ``∂L/∂x = a·∂L/∂y + b·x + c`` with a, b and c per channel. Only the
input and per-channel vectors are saved for backward. The passes are implemented in `kernels`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from stein_bench.normalization.estimators import Count, Estimator, widen
from stein_bench.normalization.functional import (
    ProcessGroup,
    elements_per_channel,
    normalize_batch,
)
from stein_bench.normalization.kernels import (
    combine_gradient,
    normalize_elements,
    reduce_gradient,
    sample_moments,
)
from stein_bench.normalization.pullbacks import pull_back
from stein_bench.normalization.synchronized import pool_moments, sum_over


class Moments(NamedTuple):
    """Per-channel vectors ``(C,)``, float32 or wider: sample moments, shrunk mean and
    1/√(shrunk variance + ε); and N.
    """

    mean: Tensor
    variance: Tensor
    shrunk_mean: Tensor
    scale: Tensor
    elements: Count


def normalize_batch_fast(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    estimator: Estimator,
    eps: float,
    group: ProcessGroup | None = None,
) -> tuple[Tensor, Tensor, Tensor, Count]:
    """Fast version of `functional.normalize_batch` for plain tensors on CPU and CUDA."""
    return cast(Any, _Normalization).apply(x, weight, bias, estimator, eps, group)  # type: ignore[no-any-return]


class _Normalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        estimator: Estimator,
        eps: float,
        group: ProcessGroup | None,
    ) -> tuple[Tensor, Tensor, Tensor, Count]:
        y, moments = normalize_forward(x, weight, bias, estimator, eps, group)
        ctx.save_for_backward(x, weight, bias, *moments[:-1])
        ctx.estimator, ctx.eps, ctx.group, ctx.elements = estimator, eps, group, moments.elements
        ctx.mark_non_differentiable(moments.mean, moments.variance)
        ctx.set_materialize_grads(False)
        return y, moments.mean, moments.variance, moments.elements

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        x, weight, bias, mean, variance, shrunk_mean, scale = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # the gradients must be differentiable (create_graph)
            grads = _composed_backward(grad, (x, weight, bias), needs, ctx)
        else:
            moments = Moments(mean, variance, shrunk_mean, scale, ctx.elements)
            grads = normalize_backward(grad, x, weight, moments, ctx.estimator, needs, ctx.group)
        return *grads, None, None, None


def normalize_forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    estimator: Estimator,
    eps: float,
    group: ProcessGroup | None = None,
) -> tuple[Tensor, Moments]:
    """Return the normalized elements, in the dtype of `x`, and the moments; not differentiable."""
    mean, variance = _batch_moments(x)
    own_count = elements_per_channel(x)
    count: Count = own_count
    if group is not None:
        mean, variance, count = pool_moments(mean, variance, own_count, group)
    shrunk_mean, shrunk_variance = estimator(mean, variance, count)
    scale = (shrunk_variance + eps).rsqrt()
    moments = Moments(mean, variance, shrunk_mean, scale, count)
    if x.numel() == 0:
        return torch.empty_like(x), moments
    weight, bias = (None if p is None else p.to(mean.dtype) for p in (weight, bias))
    return normalize_elements(x, weight, bias, shrunk_mean, shrunk_variance, scale, eps), moments


def normalize_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    moments: Moments,
    estimator: Estimator,
    needs: tuple[bool, bool, bool],
    group: ProcessGroup | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, γ and β, each None unless needed, given `grad`, that of the normalized elements.

    Those of γ and β are float32 or wider.
    """
    gamma_sum, sum_ = _reduce(grad, x, moments)
    grad_weight, grad_bias = gamma_sum if needs[1] else None, sum_ if needs[2] else None
    if not needs[0]:
        return None, grad_weight, grad_bias
    slope = moments.scale if weight is None else moments.scale * weight.to(sum_.dtype)
    shrunk_grads = -slope * sum_, -0.5 * slope * moments.scale * gamma_sum
    if group is not None:
        both = sum_over(torch.stack(shrunk_grads), group)
        shrunk_grads = both[0], both[1]
    mean_grad, variance_grad = pull_back(estimator, *moments[:2], moments.elements, *shrunk_grads)
    if x.numel() == 0:
        return torch.zeros_like(x), grad_weight, grad_bias
    spread, shift = variance_grad * (2 / moments.elements), mean_grad / moments.elements
    return combine_gradient(grad, x, moments.mean, slope, spread, shift), grad_weight, grad_bias


def _batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    if x.numel() == 0:
        nothing = torch.zeros(x.shape[1], dtype=widen(x).dtype, device=x.device)
        return nothing, nothing
    return sample_moments(x)


def _reduce(grad: Tensor, x: Tensor, moments: Moments) -> tuple[Tensor, Tensor]:
    """Return ``Σ ∂L/∂y·(x - m')/√(s'+ε)`` and ``Σ ∂L/∂y`` per channel, in one pass over the elements."""
    if x.numel() == 0:
        return torch.zeros_like(moments.mean), torch.zeros_like(moments.mean)
    return reduce_gradient(grad, x, moments.shrunk_mean, moments.scale)


def _composed_backward(
    grad: Tensor, inputs: tuple[Tensor | None, ...], needs: tuple[bool, ...], ctx: Any
) -> tuple[Tensor | None, ...]:
    """Return gradients that are differentiable themselves."""
    x, weight, bias = inputs
    y = normalize_batch(cast(Tensor, x), weight, bias, ctx.estimator, ctx.eps, ctx.group)[0]
    wanted = [tensor for tensor, needed in zip(inputs, needs, strict=True) if needed and tensor is not None]
    grads = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
    return tuple(next(grads) if needed else None for needed in needs)
