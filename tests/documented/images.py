"""Image files in class folders and tables."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stein_bench.parts.user_code import import_file

SECTION = "data.md", "Image files"

NAMES = "red", "green", "blue"


def make(folder: Path) -> None:
    """Write photos/train and photos/val, subset/, the tables numbers.csv and names.csv, names.txt and net.pth."""
    samples = np.load(folder / "test.npz")
    for index, (image, label) in enumerate(zip(samples["images"][:36], samples["labels"], strict=False)):
        picture, name = Image.fromarray(image), NAMES[label]
        for place in ("photos/train", "photos/val", "subset"):
            if place != "subset" or name != "green":
                (folder / place / name).mkdir(parents=True, exist_ok=True)
                picture.save(folder / place / name / f"{index}.png")
    files = [(f"photos/val/{NAMES[label]}/{index}.png", label) for index, label in enumerate(samples["labels"][:36])]
    for table, text in (("numbers", str), ("names", lambda label: NAMES[label])):
        rows = "".join(f"{path},{text(label)}\n" for path, label in files)
        (folder / f"{table}.csv").write_text("path,label\n" + rows)
    (folder / "names.txt").write_text("red\ngreen\nblue\n")
    torch.save(import_file(folder / "net.py", "net.py").make(3).state_dict(), folder / "net.pth")
