"""Geometry of ε-balls and the box [0, 1]: steps, projections, norms and random starts, for inputs (n, C, …)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stein_bench.seeds import derive_seed

TINY = 1e-12
"""Smaller than any relevant length: keeps divisions by the norm of a zero vector finite."""


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value per sample, (n,), so that it broadcasts over `like` (n, …)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def length(delta: Tensor, norm: str) -> Tensor:
    """Return the ``Linf`` or ``L2`` norm of each perturbation, shape (n,)."""
    flat = delta.flatten(1)
    return flat.abs().amax(dim=1) if norm == "Linf" else flat.norm(dim=1)


def direction(gradient: Tensor, norm: str) -> Tensor:
    """Return the steepest-ascent direction of unit `norm`: the sign, or the gradient over its L2 norm."""
    if norm == "Linf":
        return gradient.sign()
    return gradient / per_sample(length(gradient, norm).clamp_min(TINY), gradient)


def project(points: Tensor, center: Tensor, norm: str, eps: float) -> Tensor:
    """Project `points` onto the ball of radius eps around `center`, then clip to [0, 1].

    For Linf this is the exact projection onto the intersection; for L2 the clipping only shortens.
    """
    delta = points - center
    if norm == "Linf":
        delta = delta.clamp(-eps, eps)
    else:
        delta = delta * per_sample((eps / length(delta, norm).clamp_min(TINY)).clamp_max(1.0), delta)
    return (center + delta).clamp(0, 1)


def within(points: Tensor, center: Tensor, norm: str, eps: float) -> Tensor:
    """Return which points lie in the ball around `center` up to rounding, boolean (n,).

    Adding a perturbation of exactly eps to pixels rounds by up to 6e-8. Verification grants twice what is granted here.
    """
    return length(points - center, norm) <= eps * (1 + 5e-6) + 5e-7


def random_start(
    shape: Sequence[int], seeds: Sequence[int], norm: str, eps: float, restarts: Sequence[int] | int = 0
) -> Tensor:
    """Return one perturbation per seed, uniform in the ball, of `shape` (n, C, …), on the CPU.

    Each sample has its own generator, seeded by the sample's seed and the number of its restart (one for all, or one
    each), so that neither batch size nor order matters. In L2 a normalized Gaussian gives the direction and U^(1/d) the
    radius.
    """
    starts = torch.empty(tuple(shape))
    numbers = [restarts] * len(seeds) if isinstance(restarts, int) else restarts
    for start, seed, restart in zip(starts, seeds, numbers, strict=True):
        generator = torch.Generator().manual_seed(derive_seed(seed, "start", restart))
        if norm == "Linf":
            start.uniform_(-1, 1, generator=generator)
        else:
            start.normal_(generator=generator)
            radius = torch.rand((), generator=generator) ** (1 / start.numel())
            start.mul_(radius / start.norm().clamp_min(TINY))
    return starts * eps
