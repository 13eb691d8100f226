"""A model with the gradients of its smoothed self, where its own lead nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MOST_VALUES = 2**23
"""Most values in all patterns of noise together."""


class Smoothed(nn.Module):
    """A model whose gradient is the mean over Gaussian noise on its input, E[∇f(x + σδ)].

    That is the gradient of E[f(x + σδ)], a smooth function even where f has ripples or jumps. The outputs are those at
    x itself. The noise depends on x alone, so a sample's gradient does not depend on its batch.
    Source: Athalye et al., "Obfuscated gradients give a false sense of security" (2018), section 4.2, for the mean;
    Duchi, Bartlett and Wainwright, "Randomized smoothing for stochastic optimization" (2012), for the smooth function.

    Args:
        model: maps (n, C, …) in [0, 1] to outputs (n, K).
        shape: shape of one sample.
        sigma: σ, the standard deviation of the noise, in the units of the inputs.
        draws: number of noisy inputs that a gradient is averaged over, in pairs of opposite signs.
    """

    patterns: Tensor

    def __init__(self, model: Callable[[Tensor], Tensor], shape: Sequence[int], sigma: float, draws: int = 8) -> None:
        super().__init__()
        self.model, self.sigma, self.draws = model, sigma, draws
        size = torch.Size(shape).numel()
        generator = torch.Generator().manual_seed(0)
        count = max(draws, min(128, MOST_VALUES // size))
        self.register_buffer("patterns", torch.randn(count, *shape, generator=generator), persistent=False)
        self.training = bool(getattr(model, "training", False))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of the model for `inputs`, with smoothed gradients."""
        if not (torch.is_grad_enabled() and inputs.requires_grad):
            outputs: Tensor = self.model(inputs)
            return outputs
        found: Tensor = _Mean.apply(inputs, self)
        return found

    def noise(self, inputs: Tensor, draw: int) -> Tensor:
        """Return noise of standard deviation sigma for each of the inputs, chosen by their values."""
        if self.patterns.device != inputs.device:
            self.patterns = self.patterns.to(inputs.device)
        values = (inputs.detach().flatten(1) * 2**20).long()
        places = torch.arange(1, values.shape[1] + 1, device=inputs.device)
        mixed = (values * (places * 2654435761 + 1)).sum(dim=1)  # whole numbers: the same in every batch
        mixed = (mixed ^ (mixed >> 31)) * 2246822519
        chosen = ((mixed ^ (mixed >> 15)) + draw // 2) % len(self.patterns)
        return (self.sigma if draw % 2 == 0 else -self.sigma) * self.patterns[chosen]


class _Mean(torch.autograd.Function):
    """Keeps no graph: each noisy input is run forwards and backwards in the backward pass."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, smoothed: Smoothed) -> Tensor:
        ctx.smoothed = smoothed
        ctx.save_for_backward(inputs)
        with torch.no_grad():
            outputs: Tensor = smoothed.model(inputs)
        return outputs.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (inputs,), smoothed = ctx.saved_tensors, ctx.smoothed
        total = torch.zeros_like(inputs)
        for draw in range(smoothed.draws):
            noisy = (inputs + smoothed.noise(inputs, draw)).detach().requires_grad_(True)
            with torch.enable_grad():
                outputs = smoothed.model(noisy)
                if not outputs.requires_grad:
                    continue
                (found,) = torch.autograd.grad(outputs, noisy, gradient, allow_unused=True)
            if found is not None:  # of equal weight, so that one steep place does not decide
                size = found.flatten(1).norm(dim=1).clamp_min(torch.finfo(found.dtype).tiny)
                total += found / size.view(-1, *[1] * (found.ndim - 1))
        return total, None
