"""Small models and data that the evaluation's tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MODEL_FILE = '''
from torch import nn


def make(num_classes=3):
    """A convolution, BN, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, num_classes),
    )


def no_bn(num_classes=3):
    """The same without BN."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
'''


def write_model(folder: Path) -> str:
    """Write the model file and return the spec of its network with BN."""
    (folder / "net.py").write_text(MODEL_FILE)
    return f"{folder / 'net.py'}:make"


def write_data(folder: Path, n: int = 60, size: int = 8, seed: int = 0) -> str:
    """Write a three-class problem (which channel is brightest) as train and test npz; return its spec."""
    rng = np.random.default_rng(seed)
    for name, count in (("train", 16 * n), ("test", n)):
        labels = np.arange(count) % 3
        images = rng.integers(60, 150, (count, size, size, 3))
        # Margins differ from sample to sample, so that a budget breaks some and spares others.
        images[np.arange(count), :, :, labels] += rng.integers(12, 70, (count, 1, 1))
        np.savez(folder / f"{name}.npz", images=images.astype(np.uint8), labels=labels)
    return f"npz:{folder / 'test.npz'},train={folder / 'train.npz'}"
