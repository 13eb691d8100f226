"""The context of a tensor operation: plain execution, tracing or a function transform."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_PLAIN = (Tensor, nn.Parameter)


def is_watched() -> bool:
    """Return whether the current code is being compiled or traced, or its operations transformed or intercepted."""
    return (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def runs_plainly(*tensors: Tensor | None) -> bool:
    """Return whether operations on these tensors run as plain eager code.

    False while a program is compiled, exported or traced, within `torch.func` transforms and forward-mode
    differentiation, and for tensor subclasses and devices other than CPU and CUDA. Then only differentiable
    operations that every tracer supports may be used, and nothing may be cached.
    """
    if is_watched():
        return False
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in _PLAIN or not (tensor.is_cpu or tensor.is_cuda)):
            return False
    return True
