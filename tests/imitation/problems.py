"""A problem that needs no training: which quadrant of an image is the brightest, and networks that tell."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from tests.street import write_tree

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
            conv.weight.normal_(0, 0.1 / pairs, generator=generator)
            conv.weight[:, :, 1, 1] += 1 / channels
            norm.running_mean.uniform_(0.1, 0.3, generator=generator).div_(pairs)
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


def write_problem(folder: Path, count: int = 8, size: int = 8, least: int = 4) -> dict[str, object]:
    """Write networks, their weights and `count` images; return the options of an evaluation.

    The brightest quadrants are brighter by `least` to 40 of 255.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 4
    images = rng.integers(60, 120, (count, size, size, 3))
    half = size // 2
    for image, label, margin in zip(images, labels, np.linspace(least, 40, count), strict=True):
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


DENSE_NETWORK = '''
import torch
from torch import nn

COLORS = torch.tensor([[128, 64, 128], [80, 80, 70], [60, 140, 40], [90, 150, 210], [20, 20, 150]]) / 255
CLASSES = [0, 2, 8, 10, 13]


def make(num_classes=19):
    """The nearest of five colors, behind a BN layer."""
    norm, last = nn.BatchNorm2d(3), nn.Conv2d(3, num_classes, 1)
    with torch.no_grad():
        norm.running_mean.fill_(0.3)
        last.weight.zero_()
        last.bias.fill_(-100.0)
        last.weight[CLASSES] = 40 * COLORS[..., None, None]
        last.bias[CLASSES] = 40 * (COLORS.sum(dim=1) * 0.3 - (COLORS**2).sum(dim=1) / 2)
    return nn.Sequential(norm, last)
'''


def write_street(folder: Path, count: int = 4) -> dict[str, object]:
    """Write a network and a street of `count` images for semantic segmentation; return the options of an evaluation."""
    (folder / "dense.py").write_text(DENSE_NETWORK)
    return {
        "model": f"{folder / 'dense.py'}:make",
        "data": f"cityscapes:{write_tree(folder / 'city', train=2, val=count, size=(32, 64))}",
        "weights": "none",
        "eps": "6/255",
        "image_size": 16,
    }


VOLUME_NETWORK = '''
from torch import nn


def make(in_channels=1):
    """z = 40·(mean - 1/2), behind a BN layer that keeps its input."""
    net = nn.Sequential(nn.BatchNorm3d(in_channels, eps=1e-12), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 1))
    nn.init.constant_(net[3].weight, 40)
    nn.init.constant_(net[3].bias, -20)
    return net
'''


def write_volumes(folder: Path, count: int = 8) -> dict[str, object]:
    """Write a network with one logit and `count` volumes of two classes; return the options of an evaluation."""
    rng, rows = np.random.default_rng(2), ["path,label,split"]
    for index in range(count):
        away = np.linspace(0.005, 0.06, count)[index] * (1 if index % 2 else -1)
        values = 0.5 + away + rng.uniform(-0.02, 0.02, (6, 5, 4))
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{index}.nii.gz")
        rows.append(f"{index}.nii.gz,{index % 2},test")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    (folder / "volume.py").write_text(VOLUME_NETWORK)
    return {
        "model": f"{folder / 'volume.py'}:make",
        "data": f"nifti:{folder / 'table.csv'},shape=6x5x4",
        "weights": "none",
        "eps": 0.03,
    }
