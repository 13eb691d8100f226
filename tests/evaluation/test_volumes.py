"""Generated NIfTI volumes with sites, evaluated from the command line with a 3-D network that has one logit."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import nibabel
import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score
from torch import Tensor
from typer.testing import CliRunner, Result

from stein_bench.attacks import native
from stein_bench.cli.commands import app
from stein_bench.report.document import report_schema

SIDES = (6, 5, 4)
EPS = 0.04
NETWORK = """
import torch
from torch import nn


def make(in_channels=1):
    \"\"\"z = 40 (mean - 1/2): within eps in every voxel its sign changes just where the mean is that near to 1/2.\"\"\"
    net = nn.Sequential(nn.BatchNorm3d(in_channels, eps=1e-12), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 1))
    nn.init.constant_(net[3].weight, 40)
    nn.init.constant_(net[3].bias, -20)
    return net
"""


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, list(arguments))


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the arguments of a run, and what is known of every volume: 20 test volumes of two sites, four more."""
    rng, rows = np.random.default_rng(2), []
    for index in range(24):
        label, site = index % 2, "Oslo" if index % 3 else "Bergen"
        mean = 0.5 + (0.06 if label else -0.06) * rng.uniform(-0.5, 2)
        noise = rng.uniform(-0.02, 0.02, SIDES)
        values = mean + noise - noise.mean()
        name = f"{index}.nii.gz"
        image = nibabel.Nifti1Image(values, np.diag([2, 2, 2, 1]))
        to_stored = nibabel.orientations.axcodes2ornt("LPI" if index % 5 else "PIR")
        nibabel.save(image.as_reoriented(to_stored), tmp_path / name)
        split = "test" if index < 20 else "train"
        rows.append({"path": name, "label": label, "split": split, "site": site, "mean": mean})
    with (tmp_path / "table.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "net.py").write_text(NETWORK)
    spec = f"nifti:{tmp_path / 'table.csv'},shape={'x'.join(map(str, SIDES))}"
    arguments = ["evaluate", f"{tmp_path / 'net.py'}:make", "--weights", "none", "--data", spec, "--batch-size", "6"]
    return arguments, [row for row in rows if row["split"] == "test"]


def figures(rows: list[dict[str, Any]], eps: float) -> dict[str, float]:
    """Return what is left when every mean moves by eps towards the other class."""
    labels = np.array([row["label"] for row in rows])
    scores = np.array([row["mean"] - 0.5 for row in rows]) - eps * np.where(labels == 1, 1, -1)
    predicted = scores > 0
    return {
        "accuracy": float((predicted == labels).mean()),
        "sensitivity": float(recall_score(labels, predicted)),
        "specificity": float(recall_score(labels, predicted, pos_label=0)),
        "auc": float(roc_auc_score(labels, scores)),
    }


def values_of(accuracy: float, metrics: dict[str, Any]) -> dict[str, float]:
    return {"accuracy": accuracy, **{name: figure["value"] for name, figure in metrics.items()}}


@pytest.mark.integration
def test_clean_and_robust_figures_are_those_of_the_closed_form(volumes: Any, tmp_path: Path) -> None:
    arguments, rows = volumes
    report = tmp_path / "report.json"
    result = invoke(
        *arguments, "--attack", f"fgsm:eps={EPS}", "--attack", "noise-gaussian:std=0.01", "--output", str(report)
    )
    assert result.exit_code == 0, result.output
    document = json.loads(report.read_text())
    jsonschema.validate(document, report_schema())
    assert (document["data"]["task"], document["data"]["shape"]) == ("binary", [1, *SIDES])
    (variant,) = document["variants"]
    clean, (fgsm,) = variant["clean"], variant["attacks"]
    assert values_of(clean["accuracy"], clean["metrics"]) == pytest.approx(figures(rows, 0))
    expected = figures(rows, EPS)
    assert 0 < expected["accuracy"] < figures(rows, 0)["accuracy"]
    # AUC is of the worse of both scores, which here is the attacked one.
    assert values_of(fgsm["robust_accuracy"], fgsm["metrics"]) == pytest.approx(expected)
    for site, found in fgsm["sites"].items():
        own = [row for row in rows if row["site"] == site]
        assert found["samples"] == len(own)
        assert values_of(found["accuracy"], found["metrics"]) == pytest.approx(figures(own, EPS))
    assert set(variant["corruptions"][0]["metrics"]) == {"auc", "sensitivity", "specificity"}
    assert list(variant["corruptions"][0]["sites"]) == ["Bergen", "Oslo"]
    assert document["data"]["scaling"]["method"] == "none"


def test_the_table_shows_metrics_and_sites(volumes: Any) -> None:
    result = invoke(*volumes[0], "--attack", f"fgsm:eps={EPS}")
    for text in ("AUC %", "sensitivity %", "specificity %", "Bergen (", "Oslo (", "fgsm Linf 0.04", "Newcombe"):
        assert text in result.stdout


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_the_table_says_how_values_were_scaled(volumes: Any) -> None:
    for scaling, text in (("0.48:0.6", "scaled from [0.48, 0.6] to [0, 1]; "), ("minmax", "by its own minimum")):
        arguments = [a.replace("shape=", f"scaling={scaling},shape=") for a in volumes[0]]
        assert text in " ".join(invoke(*arguments, "--attack", "fgsm").stdout.split())
    assert "scaled" not in invoke(*volumes[0], "--attack", "fgsm").stdout


def test_no_figure_is_cut_in_a_narrow_table(volumes: Any, tmp_path: Path) -> None:
    """Every interval is whole at 80 columns, also beside long names."""
    arguments = [*volumes[0], "--stats", "running", "--stats", "batch", "--attack", "pgd:steps=2,norm=L2"]
    result = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}).invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    intervals = [line for line in lines if re.search(r"\(\d+\.\d–", line)]
    assert len(intervals) > 8
    assert all(len(re.findall(r"\(\d+\.\d–", line)) == len(re.findall(r"–\d+\.\d\)", line)) for line in intervals)


@pytest.mark.usefixtures("unchecked")
def test_an_interrupted_run_goes_on_where_it_was(volumes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*volumes[0], "--attack", f"pgd:eps={EPS}", "--attack", f"apgd-ce:eps={EPS},steps=5"]
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    assert invoke(*arguments, "--output", str(whole)).exit_code == 0
    real, calls = native.refill, []

    def interrupting(*args: Any, **kwargs: Any) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(native, "refill", interrupting)
        assert invoke(*arguments, "--output", str(parts)).exit_code == 130
    assert not parts.exists()
    assert invoke(*arguments, "--output", str(parts), "--resume").exit_code == 0
    first, second = (json.loads(path.read_text())["variants"][0] for path in (whole, parts))
    for document in (first, second):
        for part in (document["clean"], *document["attacks"]):
            part.pop("seconds")
    assert first == second


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_reports_of_two_classes_are_compared_and_gated(volumes: Any, tmp_path: Path) -> None:
    weak, strong = tmp_path / "weak.json", tmp_path / "strong.json"
    for path, seed in ((weak, "0"), (strong, "1")):
        assert invoke(*volumes[0], "--attack", f"pgd:eps={EPS}", "--seed", seed, "--output", str(path)).exit_code == 0
    assert invoke("compare", str(weak), str(strong)).exit_code == 0
    assert invoke("gate", str(weak), "--baseline", str(weak)).exit_code == 0


@pytest.mark.integration
def test_a_model_with_two_logits_gives_the_same_metrics(volumes: Any, tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        NETWORK.replace("nn.Linear(1, 1)", "nn.Linear(1, 2)")
        + "\n\nold = make\n\n\ndef make(in_channels=1):\n    net = old(in_channels)\n"
        "    nn.init.constant_(net[3].weight[0], -20)\n    nn.init.constant_(net[3].weight[1], 20)\n"
        "    nn.init.constant_(net[3].bias[0], 10)\n    nn.init.constant_(net[3].bias[1], -10)\n    return net\n"
    )
    arguments = [argument.replace("net.py", "two.py") for argument in volumes[0]]
    documents = [json.loads(invoke(*a, "--attack", "pgd", "--format", "json").stdout) for a in (volumes[0], arguments)]
    one, two = (document["variants"][0] for document in documents)
    assert one["clean"]["metrics"] == two["clean"]["metrics"]
    assert one["attacks"][0]["metrics"]["sensitivity"] == two["attacks"][0]["metrics"]["sensitivity"]


def test_one_logit_makes_a_task_of_any_two_classes(volumes: Any, tmp_path: Path) -> None:
    """Arrays do not say what they are for; a model with one output does."""
    images = np.full((6, 3, 3, 2, 1), 100, np.uint8)
    images[3:] = 160
    np.savez(tmp_path / "arrays.npz", images=images, labels=np.array([0, 0, 0, 1, 1, 1]))
    data = f"npz:{tmp_path / 'arrays.npz'},layout=NDHWC"  # 3 and 1 at both ends could be the channels
    result = invoke("evaluate", volumes[0][1], "--weights", "none", "--data", data,
                    "--attack", "fgsm", "--format", "json")  # fmt: skip
    document = json.loads(result.stdout)
    assert document["data"]["task"] == "binary"
    assert document["variants"][0]["clean"]["metrics"]["auc"]["value"] == 1


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("apgd-dlr", "attack apgd-dlr supports classification, but the data is for binary. For binary: fgsm, pgd, "),
        ("torchattacks.PGD", "attack torchattacks.PGD takes images only, not volumes; use a native attack."),
    ],
)
def test_attacks_that_cannot_serve_are_refused(volumes: Any, attack: str, message: str) -> None:
    result = invoke(*volumes[0], "--attack", attack)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"stein-bench: {message}")
    assert result.stderr.count("\n") == 1


def test_volumes_out_of_range_are_refused_before_anything_is_trained(volumes: Any) -> None:
    result = invoke(*[a.replace("shape=", "scaling=none,shape=") for a in volumes[0]], "--attack", "pgd")
    assert result.exit_code == 0
    image = nibabel.load(Path(volumes[0][1]).parent / "3.nii.gz")
    nibabel.save(nibabel.Nifti1Image(image.get_fdata() + 1, image.affine), Path(volumes[0][1]).parent / "3.nii.gz")
    result = invoke(*volumes[0], "--attack", "pgd")
    assert result.exit_code == 2
    assert "3.nii.gz: has values from 1." in result.stderr
    assert "clean" not in result.stderr


@pytest.mark.integration
def test_the_papers_network_runs_on_volumes_and_its_layers_are_inspected(volumes: Any, tmp_path: Path) -> None:
    data, size = volumes[0][5], "x".join(map(str, SIDES))
    model = f"paper:cnn3d,shape={size}"
    result = invoke("evaluate", model, "--data", data, "--bn", "stein", "--attack", "pgd:steps=2", "--format", "json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["model"]["source"] == model
    assert document["variants"][0]["converted_layers"] == document["model"]["batchnorm_layers"] == 4
    result = invoke("inspect", model, "--data", data, "--weights", "none", "--format", "json")
    layers = json.loads(result.stdout)["layers"]
    assert [(layer["kind"], layer["converts"]) for layer in layers] == [("BatchNorm3d", True)] * 4
    result = invoke("evaluate", "paper:cnn3d", "--data", data)
    assert result.exit_code == 2
    assert "built for inputs of 1×128×128×64, not 1×6×5×4." in result.stderr
    assert f"paper:cnn3d,shape={size}" in result.stderr
    result = invoke("evaluate", "test_resnet", "--data", data)
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith("It may expect images, not volumes.")


def test_a_training_volume_out_of_range_is_refused_before_the_training(volumes: Any, tmp_path: Path) -> None:
    folder = Path(volumes[0][1]).parent
    values = np.full(SIDES, 0.5)
    values[0, 0, 0] = 1.5
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "21.nii.gz")
    result = invoke("train", volumes[0][1], "--data", volumes[0][5], "--output", str(tmp_path / "w.safetensors"))
    assert result.exit_code == 2
    assert "21.nii.gz: has values from 0.5 to 1.5, outside [0, 1]" in result.stderr
    assert "epoch" not in result.stderr
