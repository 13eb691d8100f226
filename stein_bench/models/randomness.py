"""Recognizes models whose predictions are random: the same inputs, predicted repeatedly, give different outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from stein_bench.guard import draws_random_numbers, forked_rng, model_untouched

ROUNDING = 1e-4
"""Largest relative difference between two outputs of the same input that counts as rounding (GPU atomics)."""
PROBED = 2
"""Inputs on which a model is tried."""
PASSES, PASSES_OF_DRAWING = 5, 20
"""Passes whose outputs are compared; more if the model draws from a global RNG."""


@torch.no_grad()
def is_random(model: nn.Module, shape: Sequence[int], device: torch.device) -> bool:
    """Return whether `model`, in eval mode, gives different outputs for one and the same two inputs of that shape.

    Any difference counts if it draws random numbers of torch, NumPy or Python, and one beyond `ROUNDING` if it does not
    (it may have a generator of its own). A model that draws numbers without effect on its outputs is not random. Model
    and global random states are left as they were; a generator of the model's own is not.
    """
    inputs = torch.rand(PROBED, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    with model_untouched(model):
        draws = draws_random_numbers(lambda: model(inputs))
    passes, rounding = (PASSES_OF_DRAWING, 0.0) if draws else (PASSES, ROUNDING)
    with model_untouched(model), forked_rng(0):
        outputs = torch.stack([model(inputs).float().nan_to_num() for _ in range(passes)])
    apart = (outputs - outputs[0]).abs().amax() / outputs.abs().amax().clamp_min(1e-12)
    return float(apart) > rounding
