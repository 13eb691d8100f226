"""A model that returns probabilities is evaluated as it is and attacked on the logits behind them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.weights import read_weights
from stein_bench.parts.user_code import import_file
from stein_bench.preparation import plan as planning
from stein_bench.render.report.table import _notes
from tests.tiny import write_data

NETWORKS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, outputs, ending):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, outputs),
        )
        self.ending = ending

    def forward(self, x):
        return self.ending(self.layers(x))


def logits(num_classes=3):
    return Net(num_classes, lambda z: z)


def softmax(num_classes=3):
    return Net(num_classes, lambda z: torch.softmax(z, 1))


def saturated(num_classes=3):
    return Net(num_classes, lambda z: torch.softmax(1000 * z, 1))


def unseen(num_classes=3):
    return Net(num_classes, lambda z: torch.softmax(100 * z, 1) * 1.0)


def single(num_classes=3):
    return Net(1, torch.sigmoid)


def unseen_single(num_classes=3):
    return Net(1, lambda z: 1 / (1 + (-z).exp()))


def single_logit(num_classes=3):
    return Net(1, lambda z: z)
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Weights fitted to the three-class problem."""
    folder = tmp_path_factory.mktemp("fitted")
    (folder / "nets.py").write_text(NETWORKS)
    config = RunConfig(model=f"{folder / 'nets.py'}:logits", data=write_data(folder), attack=("fgsm",), limit=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEIN_BENCH_CACHE", str(folder / "cache"))
        run_evaluation(config)
    (weights,) = (folder / "cache" / "fits").iterdir()
    return weights


@pytest.fixture
def networks(tmp_path, fitted):
    """Write the networks, which have the same parameters, the fitted weights and the data."""
    (tmp_path / "nets.py").write_text(NETWORKS)
    write_data(tmp_path)
    shutil.copy(fitted, tmp_path / "fitted.safetensors")
    return tmp_path


def run(folder, name, **options):
    """Evaluate one of the networks with the fitted weights."""
    data = f"npz:{folder / 'test.npz'}"
    settings = {"data": data, "weights": str(folder / "fitted.safetensors"), "attack": ("pgd:eps=25/255",), **options}
    return run_evaluation(RunConfig(model=f"{folder / 'nets.py'}:{name}", **settings))


def robust(report):
    return report.variants[0].attacks[0].robust_accuracy


def named(report):
    """Return the messages of the check on outputs."""
    return [check.message for check in report.diagnostics if check.name == "outputs-are-logits"]


@pytest.mark.integration
def test_saturated_probabilities_hide_nothing(networks, monkeypatch):
    """Attacked as they are, they would: with their gradient exactly 0, pgd breaks next to nothing."""
    truth = run(networks, "logits")
    assert not named(truth)
    for name, told in (("saturated", "the logits before its softmax, divided by"), ("unseen", "in float64")):
        report = run(networks, name)
        assert report.variants[0].clean.accuracy == truth.variants[0].clean.accuracy
        assert robust(report) <= robust(truth) + 2 / 60
        assert told in named(report)[0]
        assert report.variants[0].attacks[0].verdict_differences == 0
    monkeypatch.setattr(planning, "recognized", lambda model, inputs: None)
    hidden = run(networks, "saturated")
    assert robust(hidden) > robust(truth) + 0.3
    assert "lie between 0 and 1" in named(hidden)[0]


@pytest.mark.integration
def test_an_ordinary_softmax_is_attacked_exactly_as_its_logits(networks):
    """No temperature is needed, so every adversarial input and verdict is the same."""
    options = {"attack": ("pgd:eps=25/255", "apgd-dlr:eps=25/255,steps=5", "square:eps=25/255,queries=20"), "limit": 30}
    first, second = run(networks, "logits", **options), run(networks, "softmax", **options)
    assert first.variants[0].outcomes == second.variants[0].outcomes
    kept = ("perturbation_linf", "perturbation_l2", "forward_passes", "robust_accuracy")
    for before, after in zip(first.variants[0].attacks, second.variants[0].attacks, strict=True):
        assert [getattr(before, name) for name in kept] == [getattr(after, name) for name in kept]


@pytest.mark.parametrize(
    "options",
    [
        {"stats": ("batch",), "batch_size": 15},
        {"attack_precision": "bf16"},
        pytest.param({"precision": "bf16"}, marks=pytest.mark.slow),
        {"attack": ("torchattacks.PGD:eps=25/255",)},
        {"bn": ("sample", "stein")},
    ],
)
def test_every_setting_takes_probabilities(networks, options):
    report = run(networks, "saturated", limit=30, **options)
    assert not report.dishonest()
    assert len(named(report)) == len(report.variants)


def test_a_transfer_attack_is_crafted_on_the_logits_behind_the_surrogates_probabilities(networks):
    """With the surrogate's weights in the evaluated model it is a white-box attack: saturation must not weaken it."""
    options = {"attack": ("transfer.pgd:eps=25/255",), "surrogate_weights": str(networks / "fitted.safetensors")}
    rates = [
        robust(run(networks, "logits", surrogate=f"{networks / 'nets.py'}:{name}", **options))
        for name in ("logits", "saturated")
    ]
    assert rates[1] <= rates[0] + 2 / 60


@pytest.mark.integration
def test_training_minimizes_the_cross_entropy_of_the_logits(networks):
    """The same network with a softmax at its end is fitted to the same weights."""
    data = f"npz:{networks / 'test.npz'},train={networks / 'train.npz'}"
    run(networks, "softmax", data=data, weights="fit", limit=1)
    (fitted,) = (networks / "cache" / "fits").iterdir()
    before, after = read_weights(networks / "fitted.safetensors").state, read_weights(fitted).state
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_sigmoid_decides_at_one_half(tmp_path):
    """Not at 0, which every probability exceeds; AUC and attacks are those of the logit."""
    (tmp_path / "nets.py").write_text(NETWORKS)
    torch.manual_seed(0)
    network = import_file(tmp_path / "nets.py", "nets.py").single_logit().eval()
    torch.save(network.state_dict(), tmp_path / "fitted.safetensors.pth")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    with torch.no_grad():
        scores = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).squeeze(1)
        shift = scores.median()
        network.layers[-1].bias -= shift
    torch.save(network.state_dict(), tmp_path / "w.pth")
    labels = ((scores - shift).numpy() > 0) ^ (rng.random(40) < 0.2)
    np.savez(tmp_path / "test.npz", images=images, labels=labels.astype(np.int64))
    options = {"weights": str(tmp_path / "w.pth"), "attack": ("pgd:eps=2/255",)}
    logit, sigmoid = run(tmp_path, "single_logit", **options), run(tmp_path, "single", **options)
    expected = float((((scores - shift).numpy() > 0) == labels).mean())
    assert sigmoid.data.task == "binary"
    assert sigmoid.variants[0].clean.accuracy == expected == logit.variants[0].clean.accuracy
    assert sigmoid.variants[0].clean.metrics == logit.variants[0].clean.metrics
    assert robust(sigmoid) == robust(logit) < expected
    assert "the results of a sigmoid" in named(sigmoid)[0]


def test_compiling_is_refused(networks):
    with pytest.raises(UsageError, match=r"--compile: nets.softmax returns probabilities, .* leave out --compile"):
        run(networks, "softmax", compile=True)


def test_a_sigmoid_that_cannot_be_seen_is_refused_not_compared_with_0(tmp_path):
    """As a logit, every probability would mean class 1."""
    (tmp_path / "nets.py").write_text(NETWORKS)
    torch.manual_seed(0)
    torch.save(import_file(tmp_path / "nets.py", "nets.py").single().state_dict(), tmp_path / "fitted.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "test.npz", images=images, labels=np.arange(20) % 2)
    with pytest.raises(
        UsageError, match=r"^the output of nets\.unseen_single is between 0 and 1 for all of 20 samples"
    ):
        run(tmp_path, "unseen_single")
    seen = run(tmp_path, "single", attack=("fgsm",))
    assert seen.data.task == "binary"
    assert "AUC: of the model's outputs, which tie where they saturate;" in " ".join(_notes(seen))
