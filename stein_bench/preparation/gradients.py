"""Whether the gradient of a network's outputs arrives at its input, which gradient attacks need."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stein_bench.attacks.losses import slope
from stein_bench.errors import UsageError, reason


def gradient_arrives(model: nn.Module, images: Tensor, spec: str) -> bool:
    """Return whether `images` get a gradient from the outputs of `model`; one of zero counts.

    A network that fails forwards is none of its concern.

    Raises:
        UsageError: the backward pass of the model `spec` fails.
    """
    with torch.enable_grad():
        inputs = images.detach().requires_grad_(True)
        outputs: Tensor = model(inputs)
        try:
            return slope(outputs.sum(), inputs) is not None
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of torch, or of a function with a backward pass of its own
            text = reason(error).removeprefix("RuntimeError: ")[:200].rstrip(".")
            raise UsageError(f"{spec} has no gradient: {text}. Attacks need the gradient of its input.") from error
