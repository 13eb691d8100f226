"""The four passes over the elements, by PyTorch's own kernels for batch normalization, on the CPU and on CUDA.

Two are forward: a reduction to the moments and an elementwise pass. Two are backward: a reduction to the gradients of
the estimates, and ``∂L/∂x = a·∂L/∂y + b·(x - m) + c`` with a, b and c per channel. `x` has shape ``(n, C, …)`` and
elements; vectors have shape ``(C,)`` and are float32 or wider. On CUDA half-precision elements are read as they are:
its kernels accumulate in float32. Those of the CPU round sums of them, so that there they are widened first.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stein_bench.normalization.estimators import widen
from stein_bench.normalization.functional import per_channel

SMALLEST_SLOPE = 2.0**-90
"""Least a that CUDA's kernel, which multiplies everything by it, gets to see. What b and c are divided by it stays
finite up to 2³⁷, and a·∂L/∂y is below all rounding where a was to be zero."""


def on_cuda(x: Tensor) -> bool:
    """Return whether CUDA's kernels are used."""
    return x.is_cuda


def sample_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of every channel."""
    elements = x if on_cuda(x) else widen(x)
    mean, variance = torch.batch_norm_update_stats(elements, None, None, 0.1)
    return mean, variance


def normalize_elements(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, scale: Tensor, eps: float
) -> Tensor:
    """Return ``(x - mean)·scale·γ + β`` in the type of `x`, `scale` being ``1/√(variance + eps)``."""
    if on_cuda(x):
        return torch.batch_norm_elemt(x, weight, bias, mean, scale, eps)
    return F.batch_norm(x, mean, variance, weight, bias, eps=eps)


def reduce_gradient(grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``Σ ∂L/∂y·(x - mean)·scale`` and ``Σ ∂L/∂y`` per channel, in one pass over the elements."""
    one = torch.ones_like(scale)
    if on_cuda(x):
        grad, x = _same_layout(grad, x)
        sum_, sum_of_products, _, _ = torch.batch_norm_backward_reduce(grad, x, mean, scale, one, True, False, False)
        return sum_of_products * scale, sum_
    _, gamma_sum, sum_ = torch.ops.aten.native_batch_norm_backward(
        widen(grad), widen(x), one, None, None, mean, scale, True, 0.0, [False, True, True]
    )
    return gamma_sum, sum_


def combine_gradient(grad: Tensor, x: Tensor, mean: Tensor, slope: Tensor, spread: Tensor, shift: Tensor) -> Tensor:
    """Return ``slope·∂L/∂y + spread·(x - mean) + shift`` in the type of `x`."""
    one = torch.ones_like(slope)
    if on_cuda(x):
        grad, x = _same_layout(grad, x)
        count = torch.ones(1, dtype=torch.int32, device=x.device)
        return torch.batch_norm_backward_elemt(grad, x, mean, one, *elemt_arguments(slope, spread, shift), count)
    # The latter two terms are a batch normalization in evaluation, a single fused pass.
    grad_x = F.batch_norm(widen(x), mean, one, spread, shift, eps=0.0)
    return grad_x.addcmul_(widen(grad), per_channel(slope, x)).to(x.dtype)


def elemt_arguments(slope: Tensor, spread: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the arguments weight, sum_dy and sum_dy_xmu with which one call of CUDA's kernel gives all three terms.

    `torch.batch_norm_backward_elemt` computes ``(∂L/∂y - sum_dy/N - (x - mean)·invstd²·sum_dy_xmu/N)·invstd·weight``.
    With invstd = 1 and N = 1 that is the sum wanted, if weight = a, sum_dy = -c/a and sum_dy_xmu = -b/a. Where a is
    zero (γ = 0) or next to it, it is replaced by `SMALLEST_SLOPE`: ∂L/∂y then vanishes beside the other two, and
    nothing has to ask the device whether there are such channels.
    """
    factor = torch.where(slope.abs() < SMALLEST_SLOPE, SMALLEST_SLOPE, slope)
    return factor, -shift / factor, -spread / factor


def _same_layout(grad: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with the same strides, dense: CUDA's kernels choose their order of elements by one of the two."""
    dense = x.is_contiguous() or any(
        x.dim() == dimensions and x.is_contiguous(memory_format=layout)
        for dimensions, layout in ((4, torch.channels_last), (5, torch.channels_last_3d))
    )
    x = x if dense else x.contiguous()
    return grad if grad.stride() == x.stride() else torch.empty_like(x, dtype=grad.dtype).copy_(grad), x
