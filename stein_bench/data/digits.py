"""The embedded default data: 1,797 real handwritten digits, 1,297 for training and 500 for testing.

The images are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (UCI
Machine Learning Repository, https://doi.org/10.24432/C50P49), licensed under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/), unchanged in value.

``digits.npz`` was generated once from scikit-learn's copy and contains ``images`` (uint8 1797×8×8, values
0 … 16, original order), ``labels`` (uint8) and ``test`` (bool, True for the test split). The split is
stratified: a share of 500/1797 of each class, rounded by largest remainder, drawn without replacement::

    bunch = sklearn.datasets.load_digits()
    labels, rng = bunch.target.astype("uint8"), numpy.random.Generator(numpy.random.PCG64(0))
    quota = numpy.bincount(labels) * 500 / 1797
    counts = numpy.floor(quota).astype(int)
    counts[numpy.argsort(counts - quota, kind="stable")[: 500 - counts.sum()]] += 1
    test = numpy.zeros(1797, bool)
    for digit in range(10):
        test[rng.choice(numpy.flatnonzero(labels == digit), counts[digit], replace=False)] = True
    numpy.savez_compressed("digits.npz", images=bunch.images.astype("uint8"), labels=labels, test=test)
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from stein_bench.data.arrays import ArrayStore
from stein_bench.data.resize import Resize
from stein_bench.data.samples import OWN, Samples
from stein_bench.data.texts import Numbered
from stein_bench.errors import UsageError


def digit_pixels(stored: np.ndarray) -> Tensor:
    """Convert uint8 (b, 8, 8) with values 0 … 16 to float32 (b, 3, 32, 32): value/16 in 4×4 blocks, gray."""
    blocks = stored.repeat(4, axis=1).repeat(4, axis=2)
    gray = torch.from_numpy(blocks).float().div_(16)
    return gray[:, None].expand(-1, 3, -1, -1).contiguous()


@dataclass(frozen=True)
class Digits:
    """The data source ``digits``: 32×32 RGB images in [0, 1] of ten classes."""

    name: str = "digits"
    task: str = "classification"
    classes: tuple[str, ...] = tuple("0123456789")
    label_space: str | None = OWN
    splits: tuple[str, ...] = ("train", "test")
    native_size: int | None = 32
    uniform: bool = True
    channels: int = 3

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in the original order, in which the digits are well mixed."""
        if split not in self.splits:
            raise UsageError(f"digits has no split {split!r}; it has train and test")
        with (files("stein_bench.data") / "digits.npz").open("rb") as file, np.load(file) as arrays:
            chosen = arrays["test"] if split == "test" else ~arrays["test"]
            images, labels = arrays["images"][chosen], arrays["labels"][chosen]
        ids = Numbered(f"digits/{split}", 0, len(labels))
        return Samples(self.name, split, self.classes, labels, ids, ArrayStore(images, resize, digit_pixels))
