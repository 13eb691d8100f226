"""Small networks and the programs exported from them, which tests of programs share."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

SHAPE = (3, 8, 8)
BATCH = torch.export.Dim("batch")


def trained() -> nn.Module:
    """Return a network with BN and dropout, as if trained: its running statistics are not those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 3),
        )  # fmt: skip
        network(torch.rand(64, *SHAPE))
    return network.eval()


class Around(nn.Module):
    """A network inside another one."""

    def __init__(self) -> None:
        super().__init__()
        self.network = trained()


class WithoutGradient(Around):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.network(x)


class Detached(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.detach())


class OwnBatchStatistics(nn.Module):
    """Dropout is off, but BN always uses the statistics of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8, track_running_stats=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).flatten(1)


class FixedRows(Around):
    """The batch size of the trace is part of the code."""

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).reshape(len(x) * 3).view(len(x), 3)


class ManyConstants(nn.Module):
    """Creates tensors on the device of the input, has a constant, and converts types: an export records all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = torch.arange(191, -1, -1, device=x.device)
        scaled = x.flatten(1)[:, order] * torch.tensor([2.0])
        return self.linear(scaled.to(torch.float32))


def traced(network: nn.Module, file: Path, batch: int = 4) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, torch.rand(batch, *SHAPE)), str(file))
    return file


def scripted(network: nn.Module, file: Path, *, frozen: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.script(network)
        torch.jit.save(torch.jit.freeze(program) if frozen else program, str(file))
    return file


def exported(network: nn.Module, file: Path, sizes: object = BATCH, batch: int = 4, inputs: int = 1) -> Path:
    """Export with dynamic batch `sizes`, a `torch.export.Dim`, or for batches of `batch` only if that is None."""
    images = (torch.rand(batch, *SHAPE),) * inputs
    dynamic = None if sizes is None else ({0: sizes},) * inputs
    torch.export.save(torch.export.export(network, images, dynamic_shapes=dynamic), str(file))
    return file
