"""Data sets as torchvision stores them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.published import md5, register_stl10, register_svhn, write_mnist, write_stl10, write_svhn

SECTION = "data.md", "torchvision's data sets"

NETWORK = """
from torch import nn


def make(num_classes=10):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""


def make(folder: Path) -> None:
    """Write a few random images of each data set below data/; `pretend` makes them the published ones."""
    (folder / "gray.py").write_text(NETWORK)
    rng, labels = np.random.default_rng(0), np.arange(20) % 10
    images = rng.integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)
    root = folder / "data"
    for class_name in ("MNIST", "FashionMNIST", "KMNIST"):
        write_mnist(root, class_name, images[:, :28, :28, 0], labels)
    write_svhn(root, "test", images[:, :32, :32], labels)
    write_stl10(root, "test", images, labels)
    for split in ("train", "val"):
        for wnid, image in zip(("n01440764", "n02102040"), images, strict=False):
            path = root / "imagenette2-160" / split / wnid / "one.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision's checks take the files for the published ones."""
    root = folder / "data"
    register_svhn(monkeypatch, "test", md5(root / "test_32x32.mat"))
    binary = root / "stl10_binary"
    register_stl10(monkeypatch, "test", (md5(binary / "test_X.bin"), md5(binary / "test_y.bin")))
