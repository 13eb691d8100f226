"""The networks under attack, with random weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DAMPING = 0.2
"""Factor of what a block adds to its shortcut. With 1 a deep random network is chaotic: all perturbations break it."""


class WideBlock(nn.Module):
    """Two BN-ReLU-convolution pairs with a shortcut, which is a 1×1 convolution if the shape changes."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        with torch.no_grad():
            self.conv2.weight.mul_(DAMPING)
        self.changes = stride != 1 or inside != outside
        if self.changes:
            self.shortcut = nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outside, H/stride, W/stride) for `x` (n, inside, H, W)."""
        active = F.relu(self.bn1(x))
        inner = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return inner + (self.shortcut(active) if self.changes else x)


class WideResNet(nn.Module):
    """The wide residual network of Zagoruyko and Komodakis (2016), "Wide residual networks", table 1.

    Args:
        depth: 6·N + 4 for N blocks in each of the three stages.
        widen: factor of the stages' 16, 32 and 64 channels.
        num_classes: number of outputs.
    """

    def __init__(self, depth: int, widen: int, num_classes: int) -> None:
        super().__init__()
        blocks, channels = (depth - 4) // 6, [16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        inside = 16
        for number, outside in enumerate(channels):
            for block in range(blocks):
                layers.append(WideBlock(inside, outside, 2 if number > 0 and block == 0 else 1))
                inside = outside
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(inside)
        self.linear = nn.Linear(inside, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, num_classes) of images (n, 3, H, W)."""
        x = F.relu(self.bn(self.blocks(self.conv1(x))))
        return self.linear(x.mean(dim=(2, 3)))


def wide_resnet_28_10(num_classes: int = 10) -> nn.Module:
    """Return WRN-28-10."""
    return WideResNet(28, 10, num_classes)


def small_wide_resnet(num_classes: int = 10) -> nn.Module:
    """Return a WRN of one narrow block per stage."""
    return WideResNet(10, 1, num_classes)


def resnet50(num_classes: int = 1000) -> nn.Module:
    """Return torchvision's ResNet-50 without weights."""
    from torchvision.models import resnet50 as build
    from torchvision.models.resnet import Bottleneck

    network = build(weights=None, num_classes=num_classes)
    for block in network.modules():
        if isinstance(block, Bottleneck):
            nn.init.constant_(block.bn3.weight, DAMPING)
    return network


@torch.no_grad()
def settle(network: nn.Module, batches: list[Tensor]) -> None:
    """Set the running statistics of all BN layers to the averages over these batches, as training would."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
    network.train()
    for batch in batches:
        network(batch)
    network.eval()
    for layer in layers:
        layer.momentum = 0.1
