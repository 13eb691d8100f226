"""The four passes over the elements, using PyTorch's own BN kernels, on the CPU and on CUDA.

Two are forward: a reduction to the moments and an elementwise pass. Two are backward: a reduction to the gradients of
the estimates, and ``∂L/∂x = a·∂L/∂y + b·(x - m) + c`` with a, b and c per channel. `x` has shape ``(n, C, …)`` and is
not empty; vectors have shape ``(C,)`` and are float32 or wider. The CUDA kernels accumulate half-precision elements in
float32. The CPU kernels round their sums, so there half-precision elements are widened first.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stein_bench.normalization.estimators import widen
from stein_bench.normalization.functional import per_channel

SMALLEST_SLOPE = 2.0**-90
"""Smallest |a| passed to the CUDA kernel, which multiplies everything by a. Up to 2³⁷, b and c divided by it stay
finite, and a·∂L/∂y is below rounding error if a should be zero."""


def on_cuda(x: Tensor) -> bool:
    """Return whether the CUDA kernels are used."""
    return x.is_cuda


def sample_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the biased variance of every channel."""
    elements = x if on_cuda(x) else widen(x)
    mean, variance = torch.batch_norm_update_stats(elements, None, None, 0.1)
    return mean, variance


def normalize_elements(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, scale: Tensor, eps: float
) -> Tensor:
    """Return ``(x - mean)·scale·γ + β`` in the dtype of `x`, with `scale` = ``1/√(variance + eps)``."""
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
    """Return ``slope·∂L/∂y + spread·(x - mean) + shift`` in the dtype of `x`."""
    one = torch.ones_like(slope)
    if on_cuda(x):
        grad, x = _same_layout(grad, x)
        count = torch.ones(1, dtype=torch.int32, device=x.device)
        return torch.batch_norm_backward_elemt(grad, x, mean, one, *elemt_arguments(slope, spread, shift), count)
    # The last two terms are a BN in evaluation mode, a single fused pass.
    grad_x = F.batch_norm(widen(x), mean, one, spread, shift, eps=0.0)
    return grad_x.addcmul_(widen(grad), per_channel(slope, x)).to(x.dtype)


def elemt_arguments(slope: Tensor, spread: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the arguments weight, sum_dy and sum_dy_xmu with which one call of the CUDA kernel gives all three terms.

    `torch.batch_norm_backward_elemt` computes ``(∂L/∂y - sum_dy/N - (x - mean)·invstd²·sum_dy_xmu/N)·invstd·weight``.
    With invstd = 1 and N = 1 this is the desired sum for weight = a, sum_dy = -c/a and sum_dy_xmu = -b/a. If a is zero
    (γ = 0) or nearly so, it is replaced by `SMALLEST_SLOPE`: the term in ∂L/∂y is then negligible, and no
    synchronization with the device is needed to find such channels.
    """
    factor = torch.where(slope.abs() < SMALLEST_SLOPE, SMALLEST_SLOPE, slope)
    return factor, -shift / factor, -spread / factor


def _same_layout(grad: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return both dense and with the same strides: the CUDA kernels take the element order from only one of the two."""
    dense = x.is_contiguous() or any(
        x.dim() == dimensions and x.is_contiguous(memory_format=layout)
        for dimensions, layout in ((4, torch.channels_last), (5, torch.channels_last_3d))
    )
    x = x if dense else x.contiguous()
    return grad if grad.stride() == x.stride() else torch.empty_like(x, dtype=grad.dtype).copy_(grad), x
