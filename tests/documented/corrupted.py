"""Corrupted test sets."""

from pathlib import Path

import numpy as np
import torch

from stein_bench.parts.user_code import import_file
from tests.corrupted import write_cifarc, write_imagenetc

SECTION = "data.md", "Corrupted test sets"


def make(folder: Path) -> None:
    """The three folders in small, and weights with as many classes."""
    write_cifarc(folder / "CIFAR-10-C", np.arange(6) % 10)
    write_cifarc(folder / "CIFAR-100-C", np.array([3, 99, 50, 7, 8, 9]))
    write_imagenetc(folder / "ImageNet-C", ("noise/shot_noise", "weather/fog"))
    network = import_file(folder / "net.py", "net.py")
    for classes in (10, 100, 1000):
        torch.save(network.make(classes).state_dict(), folder / f"classes{classes}.pth")
