"""`--batch-size auto`: the batch size that fits into memory."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from stein_bench.guard import model_untouched

MOST = 512
"""Larger batches are hardly faster."""
SHARE = 0.25
"""Of the free memory that a batch may take: other programs want some, and attacks keep several copies."""
PER_ACTIVATION = 3
"""What is kept for the backward pass, its gradients and the kernels' workspace, in units of the first."""
UNKNOWN_FREE = 2 * 2**30
"""Bytes assumed to be free where the system does not tell."""


def fitting_batch_size(model: nn.Module, shape: tuple[int, ...], device: torch.device) -> int:
    """Return the batch size, a power of two up to `MOST`, with which attacks on `model` fit into memory.

    Args:
        model: on `device`, for inputs (n, *shape).
        shape: of one sample.
        device: whose memory counts.
    """
    per_sample = activation_bytes(model, torch.zeros(2, *shape, device=device)) / 2
    fitting = int(SHARE * free_bytes(device) / (PER_ACTIVATION * max(per_sample, 1)))
    return 1 << (max(min(fitting, MOST), 1).bit_length() - 1)


def activation_bytes(model: nn.Module, inputs: Tensor) -> int:
    """Return the bytes that a forward pass on `inputs` keeps for the gradient of the inputs, each storage once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with model_untouched(model), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        outputs = model(inputs.requires_grad_(True))  # held until all is counted, so that no memory is used twice
    del outputs
    return sum(kept.values())


def free_bytes(device: torch.device) -> int:
    """Return how much memory of `device` is free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_FREE
