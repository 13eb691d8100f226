"""Moments of simulated batches: drawn directly if their distribution is known, else computed from drawn elements.

Elements are independent Gaussians with variance σ² per channel, and contamination is added to them. Given the
contamination of a channel, with mean ξ̄ and biased variance v over its N elements, the channel's sample mean is
normal, ``μ + ξ̄ + σ·Z/√N``, and independent of its biased sample variance, of which ``N·s/σ²`` is noncentral χ² with
N-1 degrees of freedom and noncentrality N·v/σ²: that is ``(Z' + √(N·v)/σ)² + χ²(N-2)``. So elements
are drawn one by one only for contamination whose ξ̄ and v have no simple distribution, and under clipping, for which
this does not hold. Each block of batches has its own generator, so that it does not depend on the other blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stein_bench.attacks.noise import NOISES
from stein_bench.seeds import derive_seed
from stein_bench.theory.population import true_means
from stein_bench.theory.settings import BY_ELEMENT, Population

_BLOCK_MOMENTS, _BLOCK_ELEMENTS = 2**16, 2**20


@dataclass(frozen=True)
class Batches:
    """What to draw: batches of C channels with N elements each.

    Attributes:
        variances: true variances, (C,) float64.
        elements: N.
        contamination, strength: see `RiskSettings`.
        populations: populations of means, all with the same draws.
        draws, seed: number of batches, and the seed.
    """

    variances: Tensor
    elements: int
    contamination: str
    strength: float
    populations: tuple[Population, ...]
    draws: int
    seed: int


Moments = tuple[Tensor, Tensor]
"""Sample means and biased sample variances, (n, C) float64."""


def draw_moments(batches: Batches, report: Callable[[int], None] = lambda _: None) -> list[Moments]:
    """Return the moments of `draws` batches for every population of means.

    Args:
        batches: what to draw.
        report: called with the size of every finished block; an exception that it raises ends the work.
    """
    blocks: list[list[Moments]] = []
    for number, size in enumerate(_block_sizes(batches)):
        seed = derive_seed(
            batches.seed, "theory", batches.variances.numel(), batches.elements, batches.contamination, number
        )
        draw = _draw_clipped if batches.contamination == "clipped-cauchy" else _draw_added
        blocks.append(draw(batches, size, seed))
        report(size)
    return [
        (torch.cat([mean for mean, _ in parts]), torch.cat([variance for _, variance in parts]))
        for parts in zip(*blocks, strict=True)
    ]


def _block_sizes(batches: Batches) -> Iterator[int]:
    """Yield the number of batches per block; except for the last, it depends only on C, N and the contamination."""
    channels = batches.variances.numel()
    size = _BLOCK_MOMENTS // channels
    if batches.contamination in BY_ELEMENT:
        size = min(size, _BLOCK_ELEMENTS // (channels * batches.elements))
    size = max(size, 1)
    for start in range(0, batches.draws, size):
        yield min(size, batches.draws - start)


def _draw_added(batches: Batches, size: int, seed: int) -> list[Moments]:
    count, rng = batches.elements, np.random.default_rng(seed)
    shape = (size, batches.variances.numel())
    variances = batches.variances
    if batches.contamination == "gaussian":
        variances = variances + batches.strength**2  # the sum of two Gaussians is Gaussian
    shift, scatter = _contamination_moments(batches, shape, seed, rng)
    deviation = variances.sqrt()
    noise = shift + deviation / math.sqrt(count) * torch.from_numpy(rng.standard_normal(shape))
    squares = (deviation * torch.from_numpy(rng.standard_normal(shape)) + (count * scatter).sqrt()).square()
    if count > 2:
        squares = squares + variances * torch.from_numpy(rng.chisquare(count - 2, shape))
    return [(true_means(shape[1], population) + noise, squares / count) for population in batches.populations]


def _contamination_moments(
    batches: Batches, shape: tuple[int, int], seed: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over a channel's elements of the non-Gaussian contamination, else zeros."""
    count, strength = batches.elements, batches.strength
    if batches.contamination in ("none", "gaussian"):
        nothing = torch.zeros(shape, dtype=torch.float64)
        return nothing, nothing
    if batches.contamination == "rademacher":
        share = torch.from_numpy(rng.binomial(count, 0.5, shape) / count)
        return strength * (2 * share - 1), strength**2 * 4 * share * (1 - share)
    generator = torch.Generator().manual_seed(seed)
    noise = NOISES[f"noise-{batches.contamination}"](torch.zeros(*shape, count), strength, generator)
    return _moments(noise)


def _draw_clipped(batches: Batches, size: int, seed: int) -> list[Moments]:
    """Draw elements, add the noise and clip to the range of the batch's clean elements over all channels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size, batches.variances.numel(), batches.elements)
    centered = torch.randn(shape, generator=generator) * batches.variances.sqrt().float().unsqueeze(1)
    noise = NOISES[f"noise-{batches.contamination}"](torch.zeros(shape), batches.strength, generator)
    drawn = []
    for population in batches.populations:
        means = true_means(shape[1], population)
        clean = centered + means.float().unsqueeze(1)
        lowest, highest = clean.amin((1, 2), keepdim=True), clean.amax((1, 2), keepdim=True)
        drawn.append(_moments((clean + noise).clamp(lowest, highest)))
    return drawn


def _moments(elements: Tensor) -> Moments:
    """Return mean and biased variance over the last dimension, in float64."""
    mean = elements.mean(-1, keepdim=True)
    centered = elements - mean
    variance = centered.square().mean(-1).double()
    correction = centered.mean(-1).double()  # rounding error of the float32 mean
    return mean.squeeze(-1).double() + correction, (variance - correction.square()).clamp_min(0)
