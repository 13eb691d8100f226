"""Random numbers by sample and query: functions of both alone, so that none are kept and no batch changes them.

A search that shows the model an image-sized draw at every query would need thousands of them per sample. These are
computed where they are needed, for all rows at once and on their device: element i of a draw is the i-th output of the
generator SplitMix64, seeded by the sample's key and the number of the draw.
Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), figure 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stein_bench.host import upload
from stein_bench.seeds import derive_seed


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FACTORS = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))
_SHIFTS = (30, 27, 31)


def keys_of(seeds: Sequence[int], purpose: str, attempts: Sequence[int], device: torch.device) -> Tensor:
    """Return the key of each sample's draws, int64 (n,), from its seed, the purpose and the number of its attempt."""
    keys = [derive_seed(seed, purpose, attempt) for seed, attempt in zip(seeds, attempts, strict=True)]
    return upload(torch.tensor(keys, dtype=torch.long), device)


def uniform(keys: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Return numbers in [0, 1), multiples of 2⁻²⁴, float32 (n, count), of the draws with those `numbers` (n,)."""
    return _fraction(_bits(keys, numbers, count), 40)


def signs(keys: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Return ±1 with equal probability, float32 (n, count), arguments as for `uniform`."""
    return torch.where(_bits(keys, numbers, count) < 0, -1.0, 1.0)


def normal(keys: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Return standard normal numbers, float32 (n, count), by Box and Muller (1958), arguments as for `uniform`."""
    bits = _bits(keys, numbers, count)
    radius = (-2 * (1 - _fraction(bits, 40)).log()).sqrt()
    return radius * (2 * math.pi * _fraction(bits, 16)).cos()


def _fraction(bits: Tensor, shift: int) -> Tensor:
    """Return 24 of the bits as a number in [0, 1)."""
    return (bits >> shift).bitwise_and_(0xFFFFFF).float().mul_(2.0**-24)


def _bits(keys: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Return 64 random bits per element, int64 (n, count). Integers wrap around, as the generator wants."""
    streams = _mixed(_mixed(keys) + (numbers + 1) * _GAMMA)
    return _mixed(streams[:, None] + torch.arange(1, count + 1, device=keys.device) * _GAMMA)


def _mixed(value: Tensor) -> Tensor:
    for shift, factor in zip(_SHIFTS, (*_FACTORS, 1), strict=True):
        shifted = (value >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        value = shifted.bitwise_xor_(value)  # in place: this is most of the cost of a query on a small network
        if factor != 1:
            value.mul_(factor)
    return value
