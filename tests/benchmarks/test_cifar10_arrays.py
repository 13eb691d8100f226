"""The arrays of the CIFAR-10 experiments: which images are in them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torchvision import datasets

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "cifar10_arrays.py"


def test_the_images_are_those_of_the_listed_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cifar(root: str, train: bool) -> SimpleNamespace:
        assert root == "there"
        images = np.arange(13_000, dtype=np.int64)[:, None, None, None] % 251 + np.zeros((1, 2, 2, 3), np.int64)
        return SimpleNamespace(
            data=images.astype(np.uint8), targets=[(7 if train else 3) * i % 10 for i in range(13_000)]
        )

    monkeypatch.setattr(datasets, "CIFAR10", cifar)
    monkeypatch.setattr(sys, "argv", ["cifar10_arrays.py", "there", str(tmp_path)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    for name, factor, first_gap in (("cifar10_test_2000", 3, 1259), ("cifar10_train_12000", 7, 1299)):
        with np.load(tmp_path / f"{name}.npz") as found:
            index = found["index"]
            assert len(index) == int(name.rpartition("_")[2])
            assert index[first_gap - 1 : first_gap + 1].tolist() == [first_gap - 1, first_gap + 1]
            assert (np.diff(index) > 0).all()
            assert (found["images"][:, 0, 0, 0] == index % 251).all()
            assert (found["labels"] == factor * index % 10).all()
