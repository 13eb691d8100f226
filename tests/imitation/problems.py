"""A problem that needs no training: which quadrant of an image is the brightest, and networks that tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

NETWORKS = '''
import torch
from torch import nn


def make(num_classes=4, seed=0, pairs=2):
    """Convolutions that carry the brightness on with some noise, BN after each, and the quadrants' averages."""
    generator = torch.Generator().manual_seed(seed)
    layers, channels = [], 3
    for _ in range(pairs):
        conv, norm = nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4)
        with torch.no_grad():
            conv.weight.normal_(0, 0.05, generator=generator)
            conv.weight[:, :, 1, 1] += 1 / channels
            norm.running_mean.uniform_(0.1, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
        layers, channels = [*layers, conv, norm, nn.ReLU()], 4
    last = nn.Linear(16, num_classes)
    with torch.no_grad():
        last.weight.normal_(0, 0.05, generator=generator)
        last.weight += 20 * torch.eye(num_classes, 4).repeat(1, 4)
        last.bias.zero_()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), last)


def nine(num_classes=4):
    """The same with nine BN layers."""
    return make(num_classes, pairs=9)


def three(num_classes=4):
    """The same with three."""
    return make(num_classes, pairs=3)


def other(num_classes=4):
    """A surrogate: the same with other noise."""
    return make(num_classes, seed=1)
'''


def write_problem(folder: Path, count: int = 8, size: int = 8) -> dict[str, object]:
    """Write networks, their weights and `count` images; return the options of an evaluation."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 4
    images = rng.integers(60, 120, (count, size, size, 3))
    half = size // 2
    for image, label, margin in zip(images, labels, np.linspace(4, 40, count), strict=True):
        row, column = half * (label // 2), half * (label % 2)
        image[row : row + half, column : column + half] += int(margin)
    np.savez(folder / "images.npz", images=images.astype(np.uint8), labels=labels)
    (folder / "networks.py").write_text(NETWORKS)
    save_file(network("other").state_dict(), folder / "other.safetensors")
    return {
        "model": f"{folder / 'networks.py'}:make",
        "data": f"npz:{folder / 'images.npz'}",
        "weights": "none",
    }


def network(name: str) -> nn.Module:
    """Return one of the networks."""
    namespace: dict[str, object] = {"torch": torch, "nn": nn}
    exec(NETWORKS, namespace)
    made: nn.Module = namespace[name]()  # type: ignore[operator]
    return made.eval()
