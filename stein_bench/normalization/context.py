"""The context of a tensor operation: plain execution, tracing or a function transform."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_PLAIN = (Tensor, nn.Parameter)


def is_watched() -> bool:
    """Return whether programs are compiled or traced now, or operations transformed or intercepted."""
    return (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def runs_plainly(*tensors: Tensor | None) -> bool:
    """Return whether ordinary code on these tensors runs now, once and unseen.

    Not so while a program is compiled, exported or traced, within `torch.func` transforms and forward-mode
    differentiation, and for tensors on devices other than CPU and CUDA: there only differentiable operations
    that every tracer knows may be used, and nothing may be kept for later.
    """
    if is_watched():
        return False
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in _PLAIN or not (tensor.is_cpu or tensor.is_cuda)):
            return False
    return True
