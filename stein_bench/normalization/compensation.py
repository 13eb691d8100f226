"""Let γ and β absorb a change of BN's statistics, so that a converted network computes the same function."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from stein_bench.normalization.layers import SteinNorm


@contextmanager
def function_preserved(layer: nn.Module) -> Iterator[None]:
    """Let γ and β absorb any change that the body makes to the moments `layer` uses with running statistics."""
    before = _evaluation_moments(layer)
    yield
    _compensate(layer, before, _evaluation_moments(layer))


def _evaluation_moments(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the mean and variance, float64, that `layer` uses in evaluation with running statistics."""
    norm = cast(nn.BatchNorm2d, layer)
    mean, variance = layer.running_moments() if isinstance(layer, SteinNorm) else (norm.running_mean, norm.running_var)
    return cast(Tensor, mean).double(), cast(Tensor, variance).double()


@torch.no_grad()
def _compensate(layer: nn.Module, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> None:
    """Set ``γ' = γ·√((s'+ε)/(s+ε))`` and ``β' = β + γ·(m'-m)/√(s+ε)``, in place."""
    norm = cast(nn.BatchNorm2d, layer)
    old_deviation, new_deviation = ((variance + norm.eps).sqrt() for _, variance in (before, after))
    gamma = norm.weight.double()
    norm.bias.copy_(norm.bias.double() + gamma * (after[0] - before[0]) / old_deviation)
    norm.weight.copy_(gamma * new_deviation / old_deviation)
