"""The paper's three systems at small scale: real data formats, trained, attacked and tabulated."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from stein_bench.cli.commands import app
from stein_bench.measures.published import PUBLISHED_METRICS
from stein_bench.report.document import read_report
from stein_bench.reproduction.document import Reproduction, read_reproduction
from tests.street import write_tree

COMMON = ("--seeds", "1", "--epochs", "1", "--bn", "sample", "--bn", "stein", "--quiet")


def reproduce(folder: Path, system: str, *arguments: str) -> Reproduction:
    output = folder / f"{system}.json"
    result = CliRunner(env={"COLUMNS": "80"}).invoke(
        app, ["reproduce", system, *arguments, *COMMON, "--output", str(output)]
    )
    assert result.exit_code == 0, result.output
    return read_reproduction(output)


def write_volumes(folder: Path) -> str:
    """Write a dozen volumes of two kinds from two sites, and the table that names them."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        label = number % 2
        volume = rng.uniform(0.2, 0.5, (16, 16, 16)).astype(np.float32)
        volume[4:12, 4:12, 4:12] += 0.3 * label
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([2, 2, 2, 1])), folder / f"{number}.nii.gz")
        lines.append([f"{number}.nii.gz", label, "train" if number < 8 else "test", f"site{number % 2}"])
    with (folder / "volumes.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "split", "site"], *lines])
    return f"nifti:{folder / 'volumes.csv'},shape=16x16x16"


def metrics_of(document: Reproduction) -> set[str]:
    return {row.metric for row in document.rows}


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_cifar10(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("train", 40), ("test", 12)):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(count) % 10)
    data = f"npz:{tmp_path / 'test.npz'},train={tmp_path / 'train.npz'}"
    document = reproduce(
        tmp_path, "cifar10", "--preset", "published", "--data", data, "--model", "paper:resnet9,width=2"
    )
    assert [row.part for row in document.rows if row.outcome == "clean"] == ["attacks", "attacks", "noise", "noise"]
    titles = {row.title for row in document.rows}
    assert {"fgsm 0.03", "pgd 0.03", *(f"clipped-cauchy {s}/255" for s in (10, 25, 40, 50, 77))} <= titles
    assert {(cell.bn, cell.stats) for cell in document.cells} == {("sample", "running"), ("stein", "batch")}


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_ppmi(tmp_path: Path) -> None:
    data = write_volumes(tmp_path)
    model = "paper:cnn3d,shape=16x16x16"
    document = reproduce(tmp_path, "ppmi", "--preset", "published", "--data", data, "--model", model)
    assert document.data.task == "binary"
    assert metrics_of(document) == {"accuracy", "auc", "sensitivity", "specificity"}
    report = read_report(tmp_path / "ppmi.json.cells" / str(document.cells[0].report))
    assert set(report.variants[0].clean.sites or ()) == {"site0", "site1"}
    assert report.data.shape == (1, 16, 16, 16)


@pytest.mark.slow
def test_cityscapes(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "city", train=12, val=3)
    arguments = ("--data", f"cityscapes:{root}", "--model", "seghead:test_resnet", "--image-size", "32")
    document = reproduce(tmp_path, "cityscapes", "--preset", "published", *arguments)
    assert document.data.task == "segmentation"
    assert {"miou", "pixel_accuracy", "precision", "recall", "f1", "jaccard", *PUBLISHED_METRICS} <= metrics_of(
        document
    )
    figures = {(row.bn, row.outcome, row.metric): row.values[0] for row in document.rows}
    for bn in ("sample", "stein"):
        assert figures[bn, "clean", "published_precision"] == figures[bn, "clean", "recall"]
        assert figures[bn, "clean", "published_sensitivity"] == figures[bn, "clean", "precision"]
