"""Networks that return something else than a tensor (n, classes)."""

from pathlib import Path

SECTION = "models.md", "What a model may return"

RETURNS = """
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Small(nn.Module):
    \"\"\"Convolution, BN, and a convolution that gives a score per class.\"\"\"

    def __init__(self, num_classes=3):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, x):
        return self.head(self.features(x))


class WithAuxiliary(Small):
    def forward(self, x):
        scores = super().forward(x).flatten(1)
        return scores, scores * 0


class WithFeatures(Small):
    def forward(self, x):
        features = self.features(x)
        return {"pred": self.head(features).flatten(1), "features": features}


class Probabilities(Small):
    def forward(self, x):
        return torch.softmax(super().forward(x).flatten(1), 1)


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class WithAttributes(Small):
    def forward(self, x):
        features = self.features(x)
        return Output(self.head(features).flatten(1), features)
"""


def make(folder: Path) -> None:
    """Write returns.py."""
    (folder / "returns.py").write_text(RETURNS)
