"""Whether the gradient of a network's outputs arrives at its input, which attacks and sanity checks need."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor, nn

from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng, model_untouched

IN_CODE = "its code uses torch.no_grad(), torch.inference_mode(), detach() or NumPy; take that out of its forward pass"
"""What cuts off the gradient of a network that Python code computes."""


def check_network_gradient(model: nn.Module, shape: tuple[int, ...], spec: str) -> None:
    """Run a network behind its input scaling forwards and backwards on two all-zero inputs, in eval mode.

    Args:
        model: the network, with any weights.
        shape: of one sample.
        spec: of the model.

    Raises:
        UsageError: no gradient arrives at the input.
    """
    images = torch.zeros(2, *shape, device=next(model.buffers()).device)
    with model_untouched(model), forked_rng(0), suppress(torch.OutOfMemoryError):  # of which the run itself will tell
        check_gradient(model, images, spec, IN_CODE)


def check_gradient(model: nn.Module, images: Tensor, spec: str, cause: str) -> None:
    """Raise a `UsageError` that names the model `spec` and a likely `cause` if `images` get no gradient from `model`.

    A network that fails forwards is none of its concern, and a gradient of zero is one.
    """
    with torch.enable_grad():
        inputs = images.detach().requires_grad_(True)
        outputs: Tensor = model(inputs)
        try:
            found = torch.autograd.grad(outputs.sum(), inputs, allow_unused=True) if outputs.requires_grad else (None,)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200].rstrip(".")
            raise UsageError(f"{spec} has no gradient: {text}. Attacks need the gradient of its input.") from error
    if found[0] is None:
        raise UsageError(f"no gradient arrives at the input of {spec}, which attacks need: {cause}.")
