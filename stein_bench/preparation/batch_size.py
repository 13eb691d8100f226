"""`--batch-size auto`: the batch size that fits into memory, measured on CUDA and estimated elsewhere."""

from __future__ import annotations

import math
import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stein_bench.attacks.losses import slope
from stein_bench.errors import UsageError
from stein_bench.guard import model_untouched, repeatable_backends

SHARE = 0.85
"""Share of the free memory of a CUDA device that batches may use: allocators lose some to gaps between blocks."""
PROBED = (8, 32)
"""Samples of the two probes, if they fit."""
COPIES = 12
"""Tensors of the inputs' size that attacks keep besides those of a pass: APGD keeps the most, about 10 at its peak."""
PER_BATCH = 2
"""The same for every batch in work: its inputs and results."""
FLOAT = 4
"""Bytes of a float32."""

SHARE_UNMEASURED = 0.25
"""The same where memory is shared with other programs and the need is estimated."""
PER_ACTIVATION = 3
"""Memory for saved activations, their gradients and the kernels' workspace, in multiples of the activations."""
UNKNOWN_FREE = 2 * 2**30
"""Bytes assumed to be free if the system does not report it."""


def fitting_batch_size(model: nn.Module, shape: tuple[int, ...], device: torch.device, most: int, kept: int) -> int:
    """Return the largest batch size, at most `most`, at which attacks on `model` fit into memory, with a margin.

    On CUDA two probes, each a forward and a backward pass, give the bytes per sample and those of any batch. On other
    devices, whose peaks cannot be measured, the bytes are estimated from the activations.

    Args:
        model: on `device`, for inputs (n, *shape); left as it is.
        shape: shape of one sample.
        device: the device whose memory is used.
        most: number of samples.
        kept: bytes per sample that attacks keep besides the network's passes, see `attack_bytes`.

    Raises:
        UsageError: not even one sample fits on the CUDA device.
    """
    if device.type == "cuda":
        fitting = _measured(model, shape, device, kept)
    else:
        per_sample = activation_bytes(model, torch.zeros(2, *shape, device=device)) / 2
        fitting = SHARE_UNMEASURED * free_bytes(device) / (PER_ACTIVATION * per_sample + kept)
    return max(min(_even(int(fitting)), most), 1)


def attack_bytes(shape: tuple[int, ...], *, queries: int, open_batches: int) -> int:
    """Return the bytes per sample of `shape` that attacks keep besides the network's passes.

    Args:
        shape: shape of one sample.
        queries: of the Square attack, which draws random numbers per axis and channel for each ahead; 0 without it.
        open_batches: batches in work at a time, see `refill`; 0 if batches are not refilled.
    """
    axes_and_channels = len(shape) - 1 + shape[0]
    return FLOAT * ((COPIES + PER_BATCH * open_batches) * math.prod(shape) + queries * axes_and_channels)


def _even(size: int) -> int:
    """Return `size` or up to an eighth less, a multiple of a large power of two, for which kernels are made."""
    step = 1 << max(size.bit_length() - 4, 0)
    return size // step * step


def _measured(model: nn.Module, shape: tuple[int, ...], device: torch.device, kept: int) -> float:
    """Return how many samples fit on the CUDA `device` by the straight line through the peaks of two probes."""
    # The first pass also loads libraries, whose workspaces stay.
    if peak_bytes(model, shape, device, 1) is None:
        size, free = "×".join(map(str, shape)), free_bytes(device) / 2**30
        raise UsageError(f"--batch-size auto: not even one sample of {size} fits into {device} ({free:.1f} GiB free).")
    few, more = PROBED
    while (peak := peak_bytes(model, shape, device, more)) is None:
        few, more = max(few // 2, 1), more // 2
        if more == 1:
            return 1
    low = peak_bytes(model, shape, device, few)
    if low is None:  # another program has taken the memory since
        return 1
    slope = max(peak - low, 0) / (more - few)
    fixed = max(low - slope * few, 0)
    return SHARE * (free_bytes(device) - fixed) / (slope + kept)


def peak_bytes(model: nn.Module, shape: tuple[int, ...], device: torch.device, samples: int) -> int | None:
    """Return the bytes that a pass with `samples` samples takes at its peak on a CUDA device; None if they do not fit.

    The memory is given back.
    """
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        run_pass(model, shape, device, samples)
        peak = torch.cuda.max_memory_allocated(device) - before
    except torch.OutOfMemoryError:
        peak = None
    torch.cuda.empty_cache()  # after the handler: until then the error keeps the pass's tensors
    return peak


def run_pass(model: nn.Module, shape: tuple[int, ...], device: torch.device, samples: int) -> None:
    """Run a forward and a backward pass as attacks do: the gradient of a loss with respect to the inputs."""
    with repeatable_backends(), model_untouched(model), torch.enable_grad():
        inputs = torch.zeros(samples, *shape, device=device, requires_grad=True)
        outputs: Tensor = model(inputs)
        slope(F.log_softmax(outputs.reshape(samples, -1).float(), dim=1).sum(), inputs)


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
    """Return the free memory of `device` in bytes, on CUDA with what torch has reserved and does not use."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_FREE
