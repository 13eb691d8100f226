"""Under which circumstances a tensor operation runs: plainly, or watched by a tracer or transformed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_PLAIN = (Tensor, nn.Parameter)


def runs_plainly(*tensors: Tensor | None) -> bool:
    """Return whether ordinary code on these tensors runs now, once and unseen.

    Not so while a program is compiled, exported or traced, within `torch.func` transforms and forward-mode
    differentiation, and for tensors on devices other than CPU and CUDA: there only differentiable operations
    that every tracer knows may be used, and nothing may be kept for later.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        return False
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() > 0:
        return False
    return all(_is_plain(tensor) for tensor in tensors if tensor is not None)


def _is_plain(tensor: Tensor) -> bool:
    if type(tensor) not in _PLAIN or tensor.device.type not in ("cpu", "cuda"):
        return False
    return forward_ad.unpack_dual(tensor).tangent is None  # type: ignore[no-untyped-call]
