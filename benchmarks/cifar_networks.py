"""Two CIFAR-10 networks for the benchmarks, whose weights are read from files.

Both take inputs in [0, 1]: preprocessing is their first layer.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from stein_bench.models.paper import RGB, find_paper_model
from stein_bench.models.preprocessing import Preprocessed


class PlainBlock(nn.Module):
    """Two 3×3 convolutions with biases and without BN, plus a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ResNet2b(nn.Module):
    """The small residual network with two blocks that verification papers use."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer1 = nn.Sequential(PlainBlock(8, 16, 2), PlainBlock(16, 16, 1))
        self.linear1 = nn.Linear(1024, 100)
        self.linear2 = nn.Linear(100, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) of inputs (n, 3, 32, 32)."""
        return self.linear2(F.relu(self.linear1(self.layer1(F.relu(self.conv1(x))).flatten(1))))


MODELS = {"ResNet-20": "paper:resnet20", "resnet2b": f"{Path(__file__).resolve()}:ResNet2b"}
"""Their specs for `stein-bench evaluate`."""
SCALING = {
    "ResNet-20": (RGB.mean, RGB.std),
    "resnet2b": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
}


def load(name: str, weights: Path) -> nn.Module:
    """Return ``ResNet-20`` or ``resnet2b`` with those weights, for inputs in [0, 1], in eval mode and frozen."""
    network = ResNet2b() if name == "resnet2b" else find_paper_model("resnet20").build(num_classes=10)
    network.load_state_dict(load_file(weights), strict=False)
    missing = set(network.state_dict()) - set(load_file(weights))
    if any(not key.endswith("num_batches_tracked") for key in missing):
        raise SystemExit(f"{weights} does not hold weights of {name}: it lacks {sorted(missing)[:3]}")
    mean, std = SCALING[name]
    with torch.no_grad():
        return Preprocessed(network, mean, std, "fp32").eval().requires_grad_(False)
