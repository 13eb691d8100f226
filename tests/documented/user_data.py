"""The user's own code, Hugging Face's `datasets` and WebDataset shards."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SECTION = "data.md", "Your own code and other libraries"

CODE = """
import numpy as np
import torch
from torch.utils.data import TensorDataset


def make(split, size=8):
    data = np.load("train.npz" if split == "train" else "test.npz")
    images = torch.from_numpy(data["images"][:, :size, :size]).permute(0, 3, 1, 2) / 255
    return TensorDataset(images, torch.from_numpy(data["labels"]))


def arrays():
    data = np.load("test.npz")
    return data["images"], data["labels"]
"""


def make(folder: Path) -> None:
    """Write mydata.py, shards, and a folder and a cached data set of `datasets`."""
    datasets = pytest.importorskip("datasets")
    (folder / "mydata.py").write_text(CODE)
    data = np.load(folder / "test.npz")
    images, labels = [Image.fromarray(image) for image in data["images"]], data["labels"].tolist()
    for kind in ("train", "test"):
        for number in range(2):
            _shard(folder / f"{kind}-{number:06d}.tar", images[number::2], labels[number::2])
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["red", "green", "blue"])}
    )
    table = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
    datasets.DatasetDict({"train": table, "validation": table}).save_to_disk("saved")


def _shard(path: Path, images: list[Image.Image], labels: list[int]) -> None:
    with tarfile.open(path, "w") as archive:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            stream = io.BytesIO()
            image.save(stream, "PNG")
            for extension, content in (("png", stream.getvalue()), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{path.stem}/{index:04d}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
