"""Segmentation and binary volume tasks: trained by the same loop, then evaluated."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.training.config import make_train_config
from stein_bench.training.run import TrainedNetwork, run_training
from tests.street import write_tree

NETS = """
from torch import nn


def dense(num_classes=19):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, num_classes, 1)
    )


def volumes(in_channels=1):
    return nn.Sequential(
        nn.Conv3d(in_channels, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(4, 1),
    )
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return file


def train(net: str, output: Path, **options: Any) -> TrainedNetwork:
    settings = {"recipe": "fit", "bn": "stein", "learning_rate": 3e-2, "device": "cpu", **options}
    return run_training(make_train_config({"model": net, "output": str(output), **settings}))


def recipe_file(folder: Path, text: str) -> str:
    file = folder / "recipe.yaml"
    file.write_text("optimizer: adamw\nschedule: constant\nweight-decay: 0\nlearning-rate: 1e-2\nkeep: last\n" + text)
    return str(file)


@pytest.mark.integration
def test_segmentation_trains_with_crops_flips_and_an_adversary(nets: Path, tmp_path: Path) -> None:
    write_tree(tmp_path / "city")
    data = f"cityscapes:{tmp_path / 'city'}"
    augmented = "epochs: 8\nbatch-size: 2\ncrop-padding: 4\nhorizontal-flip: true\n"
    trained = train(
        f"{nets}:dense", tmp_path / "w.safetensors", data=data, recipe=recipe_file(tmp_path, augmented),
        adversarial="fgsm:eps=1/255", image_size=32,
    )  # fmt: skip
    first, *_, last = trained.card.epochs
    assert last.loss < 0.7 * first.loss
    assert last.accuracy > first.accuracy
    assert trained.card.data.task == "segmentation"
    settings = {"model": f"{nets}:dense", "data": data, "weights": str(trained.path), "attack": ["fgsm:eps=1/255"]}
    (variant,) = run_evaluation(make_config(settings)).variants
    assert (variant.bn, variant.layers_of_unknown_count) == ("stein", 0)
    with pytest.raises(UsageError, match="set stratified to false"):
        stratified = recipe_file(tmp_path, "epochs: 1\nbatch-size: 2\nvalidation-share: 0.5\n")
        train(f"{nets}:dense", tmp_path / "v.safetensors", data=data, recipe=stratified)


@pytest.mark.integration
def test_volumes_of_two_classes_train_with_crops_and_validation(nets: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with (tmp_path / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        for index in range(32):
            values = rng.uniform(0, 0.4, (8, 6, 5)) + 0.5 * (index % 2)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{index}.nii.gz")
            writer.writerow([f"{index}.nii.gz", index % 2, "train" if index < 24 else "test"])
    data = f"nifti:{tmp_path / 'table.csv'},shape=8x6x5"
    text = "epochs: 12\nbatch-size: 6\ncrop-padding: 1\nhorizontal-flip: true\nvalidation-share: 0.25\n"
    trained = train(f"{nets}:volumes", tmp_path / "w.safetensors", data=data, recipe=recipe_file(tmp_path, text))
    assert trained.card.data.task == "binary"
    assert (trained.card.data.trained_on, trained.card.data.validated_on) == (18, 6)
    assert trained.card.epochs[-1].loss < trained.card.epochs[0].loss
    assert trained.card.epochs[-1].accuracy > 0.8
    settings = {"model": f"{nets}:volumes", "data": data, "weights": str(trained.path), "attack": ["fgsm:eps=1/255"]}
    (variant,) = run_evaluation(make_config(settings)).variants
    assert variant.clean.accuracy > 0.7
    with pytest.raises(UsageError, match="label-smoothing is for classification"):
        smoothed = recipe_file(tmp_path, "epochs: 1\nbatch-size: 6\nlabel-smoothing: 0.1\n")
        train(f"{nets}:volumes", tmp_path / "v.safetensors", data=data, recipe=smoothed)
