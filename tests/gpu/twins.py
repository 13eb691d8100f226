"""The same network and samples on the CPU and on the CUDA device."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

CUDA = torch.device("cuda")
CLASSES = 5


def network(channels: int = 3, *, dimensions: int = 2, size: int = 8) -> nn.Module:
    """Return a small random network with a convolution and BN that has seen some batches, in eval mode."""
    torch.manual_seed(0)
    convolution, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dimensions]
    body = nn.Sequential(convolution(channels, 8, 3), norm(8), nn.ReLU(), nn.Flatten())
    shape = (channels, *[size] * dimensions)
    for seed in range(3):
        body(samples(shape, 32, seed))
    return nn.Sequential(body, nn.Linear(8 * (size - 2) ** dimensions, CLASSES)).eval().requires_grad_(False)


def samples(shape: tuple[int, ...], count: int, seed: int = 9) -> Tensor:
    """Return random samples in [0, 1], on the CPU."""
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def predictions(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the predicted classes."""
    return model(inputs).argmax(dim=1)


def on_cuda(model: nn.Module) -> nn.Module:
    """Return a copy of the model on the device."""
    return copy.deepcopy(model).to(CUDA)
