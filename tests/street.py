"""A small data set in the official layout of Cityscapes: blocks whose color tells the class, noise, void borders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

LABEL_IDS = (7, 11, 21, 23, 26)
"""road, building, vegetation, sky, car; everything else in the maps is void."""
COLORS = np.array([[128, 64, 128], [80, 80, 70], [60, 140, 40], [90, 150, 210], [20, 20, 150]])
VOID_IDS = (0, 1, 4, 9, 33 - 4)
"""Label IDs of which no class is made: unlabeled, ego vehicle, static, parking, caravan."""


def write_pair(root: Path, folder: str, city: str, frame: str, rng: np.random.Generator, size=(64, 128)) -> None:
    """Write one image and its label IDs."""
    height, width = size
    blocks = rng.integers(0, len(LABEL_IDS), (height // 16, width // 16)).repeat(16, axis=0).repeat(16, axis=1)
    noise = rng.integers(-25, 26, (height, width, 3))
    labels = np.array(LABEL_IDS, np.uint8)[blocks]
    labels[:2] = VOID_IDS[1]
    labels[-2:] = VOID_IDS[4]
    for kind, array, end in (
        ("leftImg8bit", (COLORS[blocks] + noise).clip(0, 255).astype(np.uint8), "leftImg8bit"),
        ("gtFine", labels, "gtFine_labelIds"),
    ):
        path = root / kind / folder / city
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path / f"{city}_{frame}_{end}.png")


def write_tree(root: Path, train: int = 6, val: int = 4, seed: int = 0, size=(64, 128)) -> Path:
    """Write both splits, in two cities each, and return the root."""
    rng = np.random.default_rng(seed)
    for folder, cities, count in (("train", ("aachen", "ulm"), train), ("val", ("lindau", "munster"), val)):
        for number in range(count):
            write_pair(root, folder, cities[number % 2], f"{number:06d}_000019", rng, size)
    return root
