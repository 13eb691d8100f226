"""`--batch-size auto`: the batch size that fits into memory."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from stein_bench.guard import model_untouched

MOST = 512
"""Larger batches are hardly faster."""
SHARE = 0.25
"""Share of the free memory that a batch may use: other programs need some, and attacks keep several copies."""
PER_ACTIVATION = 3
"""Memory for saved activations, their gradients and the kernels' workspace, in multiples of the activations."""
UNKNOWN_FREE = 2 * 2**30
"""Bytes assumed to be free if the system does not report it."""


def fitting_batch_size(model: nn.Module, shape: tuple[int, ...], device: torch.device) -> int:
    """Return the batch size, a power of two up to `MOST`, at which attacks on `model` fit into memory.

    Args:
        model: on `device`, for inputs (n, *shape).
        shape: shape of one sample.
        device: the device whose memory is used.
    """
    per_sample = activation_bytes(model, torch.zeros(2, *shape, device=device)) / 2
    fitting = int(SHARE * free_bytes(device) / (PER_ACTIVATION * max(per_sample, 1)))
    return 1 << (max(min(fitting, MOST), 1).bit_length() - 1)


def activation_bytes(model: nn.Module, inputs: Tensor) -> int:
    """Return the bytes that a forward pass saves for the gradient of `inputs`, counting each storage once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with model_untouched(model), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        outputs = model(inputs.requires_grad_(True))  # kept alive until all is counted, so that no address is reused
    del outputs
    return sum(kept.values())


def free_bytes(device: torch.device) -> int:
    """Return the free memory of `device` in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_FREE
