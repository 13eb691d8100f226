"""The batch-norm kernels that torch has for CUDA only, from their definitions. Sums are float32 or wider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.half, torch.bfloat16) else x


def _per_channel(vector: Tensor, x: Tensor) -> Tensor:
    return vector.view(1, -1, *[1] * (x.dim() - 2))


def _others(x: Tensor) -> list[int]:
    return [axis for axis in range(x.dim()) if axis != 1]


def statistics(x: Tensor, mean: Tensor | None, variance: Tensor | None, momentum: float) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance per channel; running statistics are not supported."""
    assert mean is None
    assert variance is None
    found, mean = torch.var_mean(_wide(x), _others(x), correction=0)
    return mean, found


def elementwise(x: Tensor, weight: Any, bias: Any, mean: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Return ``(x - mean)·scale·weight + bias`` in the dtype of `x`."""
    y = (_wide(x) - _per_channel(mean, x)) * _per_channel(scale, x)
    y = y if weight is None else y * _per_channel(weight, x)
    return (y if bias is None else y + _per_channel(bias, x)).to(x.dtype)


def backward_reduction(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Any, inputs: bool, weights: bool, biases: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return Σ∂L/∂y, Σ∂L/∂y·(x - mean), and the gradients of weight and bias."""
    assert grad.stride() == x.stride(), "the CUDA kernel takes the order of the elements from one of the two"
    grad = _wide(grad)
    sum_, product = grad.sum(_others(x)), (grad * (_wide(x) - _per_channel(mean, x))).sum(_others(x))
    none = torch.empty(0)
    return (
        sum_ if inputs else none,
        product if inputs else none,
        product * scale if weights else none,
        sum_ if biases else none,
    )


def backward_elementwise(
    grad: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Any, sum_: Tensor, product: Tensor, count: Tensor
) -> Tensor:
    """Return ``(∂L/∂y - sum_/N - (x - mean)·scale²·product/N)·scale·weight`` in the dtype of `x`."""
    assert grad.stride() == x.stride(), "the CUDA kernel takes the order of the elements from one of the two"
    assert count.dtype == torch.int32
    elements = count.sum()
    slope = scale if weight is None else scale * weight
    away = (_wide(x) - _per_channel(mean, x)) * _per_channel(scale.square() * product / elements, x)
    return ((_wide(grad) - _per_channel(sum_ / elements, x) - away) * _per_channel(slope, x)).to(x.dtype)


KERNELS: dict[Any, Callable[..., Any]] = {
    aten.batch_norm_update_stats.default: statistics,
    aten.batch_norm_elemt.default: elementwise,
    aten.batch_norm_backward_reduce.default: backward_reduction,
    aten.batch_norm_backward_elemt.default: backward_elementwise,
}
