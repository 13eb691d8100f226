"""The small 3-D convolutional network for classifying brain volumes (arXiv 2507.08261)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from stein_bench.errors import UsageError

WIDTHS = (3, 6, 6, 6)
"""Channels after each of the four convolutions."""


class CNN3D(nn.Module):
    """Four stride-2 3×3×3 convolutions, each with BN and ReLU, then linear layers to 768, 16 and the outputs.

    For 1×128×128×64 inputs the first linear layer has 6·8·8·4 = 1536 inputs; another `shape` changes only this layer.
    The convolutions have biases (PyTorch's default).

    Args:
        shape: (D, H, W) of the inputs; each convolution halves it, rounding up.
        outputs: number of logits; 1 for two classes, which its sign distinguishes.
        in_channels: channels of the input.
    """

    def __init__(self, shape: Sequence[int], outputs: int, in_channels: int) -> None:
        super().__init__()
        self.input_shape = (in_channels, *shape)
        layers: list[nn.Module] = []
        for inside, outside in zip((in_channels, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv3d(inside, outside, 3, stride=2, padding=1), nn.BatchNorm3d(outside), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        flat = WIDTHS[-1] * math.prod(math.ceil(side / 2 ** len(WIDTHS)) for side in shape)
        self.classifier = nn.Sequential(
            nn.Linear(flat, 768), nn.ReLU(), nn.Linear(768, 16), nn.ReLU(), nn.Linear(16, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, outputs) for volumes (n, *input_shape).

        Raises `UsageError` for volumes of another shape.
        """
        if tuple(x.shape[1:]) != self.input_shape:
            own, given = ("×".join(map(str, shape)) for shape in (self.input_shape, x.shape[1:]))
            hint = " Give volumes, e.g. --data nifti:CSV."
            if x.dim() == 5:
                fitting = f"paper:cnn3d,shape={'x'.join(map(str, x.shape[2:]))}"
                hint = f" Give volumes of that shape, or write {fitting}"
            raise UsageError(f"paper:cnn3d is built for inputs of {own}, not {given}.{hint}")
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits
