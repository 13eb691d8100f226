"""Data: a function that returns a Dataset, a DataLoader or (images, labels) for a split."""

from importlib.resources import files

import numpy as np
import torch


def small_digits(split, size: int = 8):
    """The handwritten digits that come with stein-bench, gray, with the inner `size` × `size` of their 8 × 8 pixels.

    Tensors have their channels first and are in [0, 1]; an array may have them last, and be in 0 to 255 (uint8).
    `split` is "train" or "test": the test split is evaluated, the other one is trained on if that is asked for. `size`
    is a setting that a command can change.
    """
    with (files("stein_bench.data") / "digits.npz").open("rb") as file, np.load(file) as arrays:
        chosen = arrays["test"] if split == "test" else ~arrays["test"]
        images, labels = arrays["images"][chosen], arrays["labels"][chosen]
    inner = slice((8 - size) // 2, (8 + size) // 2)
    return torch.from_numpy(images[:, None, inner, inner]) / 16, torch.from_numpy(labels).long()
