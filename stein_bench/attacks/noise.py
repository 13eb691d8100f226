"""Random corruptions: noise that does not depend on the model, so not attacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Generator, Tensor

from stein_bench.host import upload
from stein_bench.seeds import derive_seed
from stein_bench.specs import ParameterValue

TRUNCATION = 2.0
"""Truncation point, in standard deviations of the Gaussian before truncation."""

Noise = Callable[[Tensor, float, Generator], Tensor]
"""Maps (one clean sample (C, …) in [0, 1], strength, its generator) to the corrupted sample, before clipping."""


def corrupt(
    name: str, params: Mapping[str, ParameterValue], inputs: Tensor, seeds: Sequence[int], number: int
) -> Tensor:
    """Return `inputs` with the noise of that name, clipped to [0, 1].

    Args:
        name: a key of `NOISES`.
        params: its strength as ``std`` (of the noise before clipping, for pixels in [0, 1]) or ``amount``.
        inputs: (n, C, …) float32.
        seeds: one per sample; the draw depends on the sample's seed and `number` alone.
        number: index of the draw.
    """
    strength = float(params["std"] if "std" in params else params["amount"])
    # Drawn on the CPU, so that every device gets the same noise, on an input that shows which pixels it replaces.
    replaces = name in REPLACING
    blank = torch.full(inputs.shape[1:], torch.nan if replaces else 0.0)
    generators = (torch.Generator().manual_seed(derive_seed(seed, "noise", number)) for seed in seeds)
    noise = upload(torch.stack([NOISES[name](blank, strength, generator) for generator in generators]), inputs.device)
    corrupted = torch.where(noise.isnan(), inputs, noise) if replaces else inputs + noise
    return corrupted.clamp(0, 1)


def _gaussian(sample: Tensor, std: float, generator: Generator) -> Tensor:
    return sample + std * torch.randn(sample.shape, generator=generator)


def _uniform(sample: Tensor, std: float, generator: Generator) -> Tensor:
    """Uniform in ±√3·std, which has standard deviation std."""
    return sample + std * math.sqrt(12) * (torch.rand(sample.shape, generator=generator) - 0.5)


def _rademacher(sample: Tensor, std: float, generator: Generator) -> Tensor:
    """Plus or minus std for every value."""
    return sample + std * (2.0 * torch.randint(2, sample.shape, generator=generator) - 1)


def _truncated_gaussian(sample: Tensor, std: float, generator: Generator) -> Tensor:
    """A Gaussian truncated at `TRUNCATION`, by inversion, scaled to standard deviation `std` after truncation."""
    tail = 0.5 * (1 + math.erf(-TRUNCATION / math.sqrt(2)))
    density = math.exp(-(TRUNCATION**2) / 2) / math.sqrt(2 * math.pi)
    deviation = math.sqrt(1 - 2 * TRUNCATION * density / (1 - 2 * tail))
    chances = tail + (1 - 2 * tail) * torch.rand(sample.shape, generator=generator, dtype=torch.float64)
    normal: Tensor = torch.special.ndtri(chances)
    return sample + (std / deviation * normal).float()


def _salt_and_pepper(sample: Tensor, amount: float, generator: Generator) -> Tensor:
    """That share of the pixels set to black or white, in all channels together."""
    chances = torch.rand(sample.shape[1:], generator=generator)
    black, white = chances < amount / 2, chances >= 1 - amount / 2
    return sample.masked_fill(black, 0.0).masked_fill(white, 1.0)


def _clipped_cauchy(sample: Tensor, std: float, generator: Generator) -> Tensor:
    """std/√2·tan(πU): Cauchy, bounded only by clipping; `std` is a scale, not a standard deviation.

    Source: the code of arXiv 2507.08261, which calls this noise "sub-Gaussian".
    """
    chances = torch.rand(sample.shape, generator=generator, dtype=torch.float64)
    return sample - (std / math.sqrt(2) * torch.tan(math.pi * chances)).float()


NOISES: dict[str, Noise] = {
    "noise-gaussian": _gaussian,
    "noise-uniform": _uniform,
    "noise-rademacher": _rademacher,
    "noise-truncated-gaussian": _truncated_gaussian,
    "noise-salt-and-pepper": _salt_and_pepper,
    "noise-clipped-cauchy": _clipped_cauchy,
}
"""Every corruption of the catalog, by name."""

REPLACING = ("noise-salt-and-pepper",)
"""Noises that replace pixels; all others are added to the input."""
