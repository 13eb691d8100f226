"""Tiny files in the formats of published data sets, as torchvision lays them out; images are squares of any side."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
from scipy.io import savemat


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write unsigned bytes in the IDX format of MNIST: magic number 0x08 and the number of axes, then their sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, class_name: str, images: np.ndarray, labels: np.ndarray, *, packed: bool = False) -> Path:
    """Write gray `images` (n, 28, 28) as the test split, their first half as the training split; return the folder."""
    folder = root / class_name / "raw"
    for part, count in (("t10k", len(images)), ("train", len(images) // 2)):
        write_idx(folder / f"{part}-images-idx3-ubyte", images[:count])
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels[:count])
    if packed:
        for file in list(folder.iterdir()):
            (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
    return folder


def write_svhn(root: Path, split: str, images: np.ndarray, labels: np.ndarray) -> str:
    """Write `images` (n, 32, 32, 3) as MATLAB's X (32, 32, 3, n) and y (n, 1), 10 being the digit 0; return MD5."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{split}_32x32.mat"
    savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)})
    return md5(path)


def write_stl10(root: Path, split: str, images: np.ndarray, labels: np.ndarray) -> tuple[str, str]:
    """Write `images` (n, 96, 96, 3) by channel and column, and labels from 1; return both MD5 sums."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
    (folder / f"{split}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
    return md5(folder / f"{split}_X.bin"), md5(folder / f"{split}_y.bin")


def md5(path: Path) -> str:
    """Return the MD5 (hex) of a file."""
    return hashlib.md5(path.read_bytes()).hexdigest()


def register_svhn(monkeypatch, split: str, checksum: str) -> None:
    """Let torchvision's own check take the tiny file for the published one."""
    from torchvision.datasets import SVHN

    url, name, _ = SVHN.split_list[split]
    monkeypatch.setattr(SVHN, "split_list", SVHN.split_list | {split: [url, name, checksum]})


def register_stl10(monkeypatch, split: str, checksums: tuple[str, str]) -> None:
    """Let torchvision's own check take the tiny files for the published ones."""
    from torchvision.datasets import STL10

    entries = [[f"{split}_X.bin", checksums[0]], [f"{split}_y.bin", checksums[1]]]
    rest = STL10.train_list[2:] if split == "train" else []
    monkeypatch.setattr(STL10, f"{split}_list", entries + rest)
