"""Residual networks for images of 32×32 pixels (He et al. 2015, arXiv 1512.03385)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ZeroPadded(nn.Module):
    """The parameter-free shortcut, option A of the paper: every second pixel, zeros in the new channels."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.before = new_channels // 2
        self.after = new_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, C + new, H/2, W/2) for `x` (n, C, H, W)."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"before={self.before}, after={self.after}"


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with BN and a shortcut, which changes shape if the block does.

    Args:
        inside, outside: input and output channels.
        stride: of the first convolution, 1 or 2.
        projection: a shape-changing shortcut is a 1×1 convolution with BN (option B), not zero padding (option A).
    """

    def __init__(self, inside: int, outside: int, stride: int, *, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or inside != outside:
            self.shortcut = _projection(inside, outside, stride) if projection else ZeroPadded(outside - inside)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outside, H/stride, W/stride) for `x` (n, inside, H, W)."""
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + self.shortcut(x))


class CifarResNet(nn.Module):
    """A ResNet with a 3×3 stem of stride 1 and no max pooling, for CIFAR's small images.

    Stages ``layer1``, ``layer2``, … have `blocks` basic blocks each; the first has `width` channels, each further
    one twice as many at half the resolution. Global average pooling and ``linear`` follow. Parameters are named
    as in the widely used public implementations, so that their weights can be loaded.

    Args:
        blocks: basic blocks per stage.
        width: channels of the first stage.
        num_classes, in_channels: number of outputs and of input channels.
        projection: option B shortcuts instead of option A, see `BasicBlock`.
    """

    def __init__(
        self, blocks: Sequence[int], width: int, num_classes: int, in_channels: int, *, projection: bool
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = tuple(f"layer{number + 1}" for number in range(len(blocks)))
        inside = width
        for number, (name, count) in enumerate(zip(self.stages, blocks, strict=True)):
            outside = width * 2**number
            strides = [1 if number == 0 else 2, *[1] * (count - 1)]
            channels = [inside, *[outside] * (count - 1)]
            pairs = zip(channels, strides, strict=True)
            self.add_module(name, nn.Sequential(*(BasicBlock(c, outside, s, projection=projection) for c, s in pairs)))
            inside = outside
        self.linear = nn.Linear(inside, num_classes)
        self._initialize()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, num_classes) for images (n, in_channels, H, W) of any size."""
        features = F.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            features = self.get_submodule(name)(features)
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits

    def _initialize(self) -> None:
        """Initialize the convolutions for ReLU by fan-out, as in He et al. 2015 (arXiv 1502.01852)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _projection(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
