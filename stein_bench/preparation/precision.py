"""Networks run in float32, whatever precision their code builds them in."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn


def in_float32(network: nn.Module) -> tuple[str, ...]:
    """Convert the floating-point parameters and buffers of `network` to float32; return what they were in otherwise."""
    tensors = chain(network.parameters(), network.buffers())
    others = {tensor.dtype for tensor in tensors if tensor.is_floating_point() and tensor.dtype != torch.float32}
    if others:
        network.float()
    return tuple(sorted(str(dtype).removeprefix("torch.") for dtype in others))


def precision_note(dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the report says about a network that was built in `dtypes`."""
    return (f"the model is built in {' and '.join(dtypes)}; it is run in float32",) if dtypes else ()
