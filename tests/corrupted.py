"""Small corrupted test sets in the published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("snow", "fog", "gaussian_noise", "saturate")
BASE = np.array([3, 0, 9, 1])
WNIDS = ("n01440764", "n01443537", "n01484850")
"""The first three classes of ImageNet-1k."""


def write_cifarc(
    folder: Path, labels: np.ndarray = BASE, names: tuple[str, ...] = NAMES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Write labels.npy, five times the labels, and a file for each corruption, severity by severity; return them.

    The channel of a label (modulo 3) is the brightest, the less so the higher the severity.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    found, n = {}, len(labels)
    for name in names:
        images = rng.integers(60, 150, (5, n, 32, 32, 3))
        for severity in range(5):
            images[severity, np.arange(n), :, :, labels % 3] += rng.integers(0, 70 - 12 * severity, (n, 1, 1))
        found[name] = images.reshape(5 * n, 32, 32, 3).astype(np.uint8)
        np.save(folder / f"{name}.npy", found[name])
    return found


def write_imagenetc(
    root: Path, places: tuple[str, ...] = ("weather/fog", "noise/shot_noise"), images: int = 2, size: int = 8
) -> None:
    """Write `images` files for each of three wnids in every severity of every corruption."""
    rng = np.random.default_rng(1)
    for place in places:
        for severity in range(1, 6):
            for number, wnid in enumerate(WNIDS):
                folder = root / place / str(severity) / wnid
                folder.mkdir(parents=True)
                for image in range(images):
                    pixels = rng.integers(0, 255, (size, size, 3)).astype(np.uint8)
                    name = f"ILSVRC2012_val_{100 * number + image:08d}.JPEG"
                    Image.fromarray(pixels).save(folder / name, "JPEG")
