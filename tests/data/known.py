"""The same few images for every format: by every route they give the same samples and the same clean accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stein_bench.config import RunConfig
from stein_bench.data import open_data
from stein_bench.data.samples import Samples
from stein_bench.evaluation.run import run_evaluation
from stein_bench.parts.user_code import import_file
from tests.tiny import write_model

COUNT, SIDE, CLASSES = 24, 8, 3
LABELS = np.arange(COUNT) % CLASSES


def known_images() -> np.ndarray:
    """Return 24 images, uint8 (24, 8, 8, 3): the channel of the label is the brightest."""
    rng = np.random.default_rng(7)
    images = rng.integers(60, 150, (COUNT, SIDE, SIDE, 3))
    images[np.arange(COUNT), :, :, LABELS] += rng.integers(12, 70, (COUNT, 1, 1))
    return images.astype(np.uint8)


def as_inputs(images: np.ndarray) -> Tensor:
    """Return uint8 (n, H, W, C) as float32 (n, C, H, W) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def opened(spec: str, split: str = "test") -> Samples:
    """Return the samples of a data spec."""
    return open_data(spec).samples(split)


def check_known(spec: str, split: str = "test") -> Samples:
    """Check that `spec` gives exactly the known images and labels, in any order; return its samples.

    Labels are compared by image, since folders are put into an order of their own.
    """
    samples = opened(spec, split)
    images, labels = samples.batch(range(len(samples)))
    expected = as_inputs(known_images())
    assert images.dtype == torch.float32
    assert images.shape == expected.shape
    order = [int((expected == image).flatten(1).all(dim=1).nonzero()) for image in images]
    assert sorted(order) == list(range(COUNT))
    assert labels.tolist() == LABELS[order].tolist()
    return samples


def clean_accuracy(spec: str, folder: Path) -> float:
    """Return the clean accuracy that a run reports for a small fixed network."""
    network = write_model(folder)
    torch.manual_seed(3)
    torch.save(import_file(folder / "net.py", "net.py").make(CLASSES).state_dict(), folder / "fixed.pth")
    config = RunConfig(
        model=network, data=spec, weights=str(folder / "fixed.pth"), attack=("noise-gaussian:std=0.1,seeds=1",)
    )
    return run_evaluation(config).variants[0].clean.accuracy


def plain_accuracy(folder: Path) -> float:
    """Return the accuracy of the same network on the known images in a few lines of plain PyTorch."""
    write_model(folder)
    torch.manual_seed(3)
    network = import_file(folder / "net.py", "net.py").make(CLASSES).eval()
    with torch.no_grad():
        predicted = network(as_inputs(known_images())).argmax(dim=1)
    return float((predicted == torch.from_numpy(LABELS)).double().mean())
