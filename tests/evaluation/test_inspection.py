"""`stein-bench inspect`, from the command line to table, document and picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stein_bench.cli.commands import app

FROZEN = """
from timm.layers import FrozenBatchNormAct2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

def make():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), FrozenBatchNormAct2d(4), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1)
    )

def mixed():
    network = make()
    network[2] = nn.BatchNorm2d(4)
    return network
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_the_table_names_layers_statistics_and_shrinkage(model: str, data: str) -> None:
    result = invoke("inspect", model, "--data", data)
    assert result.exit_code == 0, result.output
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith("1 "))
    assert row[:3] == ["1", "16", "6,400*"]
    assert len(row) == 11  # three estimators fit beside so short a name
    assert all(float(figure) >= 0 for figure in row[3:])
    assert "1 BN layers convertible, 0 not" in result.stdout
    assert "stein" in result.stdout
    assert "* N is not in the weights" in result.stdout
    assert "fit sample" in result.stderr


@pytest.mark.integration
def test_networks_trained_with_stein_layers_know_their_count(
    model: str, data: str, own_cache: Path, tmp_path: Path
) -> None:
    assert invoke("evaluate", model, "--data", data, "--bn", "stein", "--attack", "fgsm").exit_code == 0
    (weights,) = (own_cache / "fits").iterdir()
    result = invoke("inspect", model, "--data", data, "--weights", str(weights), "--format", "json")
    document = json.loads(result.stdout)
    assert document["trained_with"] == "stein"
    (layer,) = document["layers"]
    assert layer["converts"] is True
    assert layer["kind"] == "SteinBatchNorm2d"
    assert (layer["count_source"], layer["count"] % 64) == ("weights", 0)
    assert list(layer["shrinkage"]) == ["stein", "stein-mean", "jsnorm", "james-stein", "ridge:0.001", "lasso:0.001"]


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_pictures_and_documents_are_written_side_by_side(
    model: str, data: str, tmp_path: Path, suffix: str, magic: bytes
) -> None:
    plot, output = tmp_path / f"shrinkage{suffix}", tmp_path / "inspection.json"
    result = invoke("inspect", model, "--data", data, "--plot", str(plot), "--output", str(output), "--bn", "ridge:0.3")
    assert result.exit_code == 0, result.output
    assert plot.read_bytes().startswith(magic)
    assert list(json.loads(output.read_text())["layers"][0]["shrinkage"]) == ["ridge:0.3"]
    assert "ridge:0.3" in result.stdout


def test_untrained_and_unconvertible_models_say_so(data: str) -> None:
    untrained = invoke("inspect", "test_resnet", "--data", data, "--weights", "none")
    assert untrained.exit_code == 0
    assert "untrained: means are 0" in untrained.stdout
    none = invoke("inspect", "test_vit", "--data", data, "--weights", "none", "--image-size", "160")
    assert none.exit_code == 0
    assert "no BN layer that could be converted" in none.stdout


def test_frozen_layers_are_listed_as_such(data: str, tmp_path: Path) -> None:
    (tmp_path / "frozen.py").write_text(FROZEN)
    result = invoke("inspect", f"{tmp_path / 'frozen.py'}:make", "--data", data, "--weights", "none")
    assert "0 BN layers convertible, 2 not" in " ".join(result.stdout.split())
    assert "frozen BN: its statistics, γ and β are constants" in " ".join(result.stdout.split())
    found = invoke(
        "inspect", f"{tmp_path / 'frozen.py'}:mixed", "--data", data, "--format", "json", "--weights", "none"
    )
    layers = json.loads(found.stdout)["layers"]
    assert [(layer["name"], layer["kind"], layer["converts"]) for layer in layers] == [
        ("2", "BatchNorm2d", True),
        ("1", "FrozenBatchNorm2d", False),
    ]
    assert layers[1]["reason"].startswith("frozen BN: ")


def test_an_instances_statistics_are_not_called_untrained(data: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FROZEN + "model = mixed()\nmodel[2].running_mean += 1\n")
    result = invoke("inspect", f"{tmp_path / 'own.py'}:model", "--data", data)
    assert result.exit_code == 0, result.output
    assert "untrained" not in result.stdout
    assert "weights: those of the instance" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet8"], "unknown model 'resnet8'"),
        (["test_resnet", "--bn", "stien"], "unknown estimator 'stien'"),
        (["test_resnet", "--plot", "a.jpg"], "must end in .png, .svg, .pdf"),
        (["test_resnet", "--plot", "no/folder/a.png"], "must be a file in an existing folder"),
        (["test_resnet", "--batch-size", "0"], "--batch-size: input should be greater than or equal to 1"),
        (["test_vit", "--weights", "none", "--plot", "a.png"], "has no BN layer with running averages to draw"),
    ],
)
def test_each_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = invoke("inspect", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("a.png").exists()
