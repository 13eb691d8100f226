"""Make the two arrays of the CIFAR-10 experiments in docs/results.md from CIFAR-10 itself.

    python benchmarks/cifar10_arrays.py ROOT [FOLDER]

ROOT holds CIFAR-10 where torchvision has stored it (`cifar-10-batches-py`). `cifar10_test_2000.npz` has the first 2,003
test images but three, `cifar10_train_12000.npz` 1,200 of each class among the first 12,557 training images;
`cifar10_left_out.txt` lists the others, and `index` is an image's place in CIFAR-10.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PLACES = {"test": (False, 2003), "train": (True, 12557)}
"""Split → whether it is for training, and the end of its range of places."""
LEFT_OUT = Path(__file__).parent / "cifar10_left_out.txt"


def places(split: str) -> NDArray[np.int64]:
    """Return the places of the images of a split, in order."""
    listed = dict(line.split(": ") for line in LEFT_OUT.read_text(encoding="utf-8").splitlines())
    return np.setdiff1d(np.arange(PLACES[split][1]), np.array(listed[split].split(), np.int64))


def main() -> None:
    """Write both arrays."""
    from torchvision.datasets import CIFAR10

    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder = Path(sys.argv[2] if len(sys.argv) == 3 else ".")
    for split, (train, _) in PLACES.items():
        data, index = CIFAR10(sys.argv[1], train=train), places(split)
        path = folder / f"cifar10_{split}_{len(index)}.npz"
        np.savez_compressed(path, images=data.data[index], labels=np.array(data.targets)[index], index=index)
        print(path)


if __name__ == "__main__":
    main()
