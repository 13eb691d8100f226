"""A small learnable problem and a small network, for tests that train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from stein_bench.data.samples import Samples
from stein_bench.tasks import TASKS
from stein_bench.training.loop import Training, TrainingSet
from stein_bench.training.recipes import Recipe

CPU = torch.device("cpu")
TASK = TASKS["classification"]

NET_FILE = '''
from torch import nn


def make(num_classes=10):
    """A convolution, BN, dropout and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, num_classes),
    )


def no_bn(num_classes=10):
    """Without BN."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
'''


class Stripes:
    """A store of 3×8×8 images: noisy horizontal, vertical and diagonal stripes."""

    shape = (3, 8, 8)

    in_memory = True

    def __init__(self, labels: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        row, column = np.indices((8, 8))
        patterns = np.stack([row % 2, column % 2, (row + column) % 2])
        noisy = 0.5 + 0.2 * (patterns[labels][:, None] - 0.5) + rng.normal(0, 0.1, (len(labels), 3, 8, 8))
        self.images = torch.from_numpy(noisy).float().clamp(0, 1)

    def load(self, indices):
        return self.images[list(indices)]

    def update_hash(self, digest, count):
        digest.update(self.images[:count].numpy().tobytes())


def stripes(count: int = 240) -> Samples:
    """Return samples of three classes in turn."""
    labels = np.arange(count) % 3
    ids = tuple(f"stripes/{i:04d}" for i in range(count))
    return Samples("stripes", "train", ("rows", "columns", "checks"), labels, ids, Stripes(labels))


def network(seed: int = 0) -> nn.Sequential:
    """Return a network with BN, initialized from the seed."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip


def recipe(**changes) -> Recipe:
    """Return a short SGD recipe."""
    settings = {
        "optimizer": "sgd", "schedule": "constant", "learning_rate": 0.1, "weight_decay": 1e-4, "epochs": 3,
        "batch_size": 32, **changes,
    }  # fmt: skip
    return Recipe(**settings)


def parts(samples: Samples, validated: int = 60) -> TrainingSet:
    """Hold out the last `validated` samples for validation."""
    order = np.arange(len(samples))
    cut = len(samples) - validated
    return TrainingSet(samples, order[:cut], order[cut:])


def training(chosen: Recipe, *, model: nn.Module | None = None, data: TrainingSet | None = None, **options) -> Training:
    """Return a training of the small network on stripes."""
    options = {"seed": 0, "device": CPU, **options}
    return Training(model or network(), data or parts(stripes()), TASK, chosen, **options)


def write_net(folder: Path) -> str:
    """Write the file of a small network and return its spec."""
    (folder / "net.py").write_text(NET_FILE)
    return f"{folder / 'net.py'}:make"
