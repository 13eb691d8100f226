"""`stein-bench theory lipschitz`, on random batches and within a network, to table, document and plot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from stein_bench.cli.commands import app
from stein_bench.config import make_config
from stein_bench.normalization.estimators import estimator
from stein_bench.theory.jacobian import reduced_norm
from stein_bench.theory.lipschitz import network_layers
from stein_bench.theory.settings import LipschitzSettings

NETWORK = '''
from torch import nn


def make(num_classes=2):
    """Two BN layers; the second follows the first."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.Flatten(),
        nn.Linear(64, num_classes),
    )


def plain(num_classes=2):
    """No BN at all."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))
'''


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["theory", "lipschitz", *arguments])


@pytest.fixture
def network(tmp_path: Path) -> tuple[str, ...]:
    """Options that name a network with random weights, and its data."""
    (tmp_path / "net.py").write_text(NETWORK)
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(12) % 2)
    return ("--model", f"{tmp_path / 'net.py'}:make", "--data", f"npz:{tmp_path / 'data.npz'}", "--weights", "none")


@pytest.mark.integration
def test_random_batches(tmp_path: Path) -> None:
    output, plot = tmp_path / "lipschitz.json", tmp_path / "lipschitz.svg"
    sizes = (
        "--channels",
        "4",
        "--elements",
        "16",
        "--spread",
        "0,2",
        "--bn",
        "stein",
        "--bn",
        "ridge:0.3",
        "--starts",
        "1",
    )
    result = invoke(*sizes, "--output", str(output), "--plot", str(plot))
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    flat = " ".join(result.stdout.split())
    assert "Of 2 settings, the local Lipschitz constant is smaller than plain BN's: stein's in" in flat
    assert "the constant of one layer does not bound the network's" in flat
    document = json.loads(output.read_text())
    assert next(iter(document)) == "schema_version"
    assert document["network"] is None
    assert list(document["layers"][0]["constants"]) == ["sample", "stein", "ridge:0.3"]
    assert plot.read_bytes().startswith(b"<?xml")
    again = json.loads(invoke(*sizes, "--format", "json").stdout)
    assert again == document


@pytest.mark.integration
def test_a_network_is_measured_layer_by_layer(network: tuple[str, ...], tmp_path: Path) -> None:
    result = invoke(*network, "--batch-size", "5", "--plot", str(tmp_path / "a.png"))
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if line[:2] in ("1 ", "4 ")]
    assert [row[:3] for row in rows] == [["1", "6", "180"], ["4", "4", "80"]]
    assert "trained with sample) at 5 samples of" in result.stdout.replace("\n", " ")
    assert "lipschitz: 2 of 2" in result.stderr
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_each_layer_is_measured_at_its_input_under_batch_statistics(network: tuple[str, ...]) -> None:
    options = {"model": network[1], "data": network[3], "weights": "none"}
    settings = LipschitzSettings(bn=("stein",))
    _, layers = network_layers(make_config(options), settings)
    from stein_bench.evaluation.networks import build_network
    from stein_bench.preparation.plan import prepare
    from stein_bench.preparation.untrained import build_untrained
    from stein_bench.progress import Silent

    plan = prepare(make_config(options))
    net = build_network(plan, "sample", Silent()).network
    assert isinstance(net, nn.Sequential)
    assert torch.equal(build_untrained(plan)[0].weight, net[0].weight)
    x = net[0](plan.wrap(nn.Identity())(plan.samples.batch(range(12))[0]))
    expected = [reduced_norm(x, net[1].weight, estimator("stein"), net[1].eps)]
    normalized = nn.functional.batch_norm(x, None, None, net[1].weight, net[1].bias, training=True, eps=net[1].eps)
    deeper = net[3](net[2](normalized))
    expected.append(reduced_norm(deeper, net[4].weight, estimator("stein"), net[4].eps))
    assert [layer.constants[1].reduced for layer in layers] == pytest.approx(expected, rel=1e-5)
    assert [layer.constants[1].norm for layer in layers] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bn", "stien"], "unknown estimator 'stien'"),
        (["--bn", "stein", "--bn", "stein"], "--bn: stein is given twice"),
        (["--data", "digits"], "--data needs --model"),
        (["--batch-size", "3"], "--batch-size needs --model"),
        (["--model", "resnet18", "--channels", "3"], "--channels applies to random batches; drop it or --model"),
        (["--model", "resnet8"], "unknown model 'resnet8'"),
        (["--channels", "100000"], "--channels: 100000 is not between 1 and 4096"),
        (["--channels", "4096", "--elements", "100000"], "4096 channels × 100000 elements are more than"),
        (["--elements", "0"], "--elements: 0 is not between 1 and"),
        (["--starts", "0"], "--starts: 0 is not between 1 and 100"),
        (["--format", "xml"], "unknown --format 'xml'"),
        (["--plot", "a.gif"], "must end in .png, .svg, .pdf"),
    ],
)
def test_each_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_network_without_bn_is_an_error(network: tuple[str, ...]) -> None:
    result = invoke("--model", network[1].replace(":make", ":plain"), *network[2:])
    assert result.exit_code == 2
    assert "it has no BN layer" in result.stderr
