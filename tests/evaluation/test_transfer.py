"""Transfer attacks: made on a surrogate, judged by the evaluated model, and identified by whom they were made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stein_bench.attacks.attack import attack_seeds
from stein_bench.attacks.catalog import CATALOG, TRANSFERS
from stein_bench.attacks.geometry import random_start
from stein_bench.attacks.gradient import PGD
from stein_bench.attacks.search import Batch
from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.networks import build_network
from stein_bench.evaluation.run import run_evaluation
from stein_bench.evaluation.surrogate import plan_surrogate, with_surrogate
from stein_bench.models.weights import WeightsCard, save_weights
from stein_bench.preparation.plan import check_model, prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.progress import Silent
from stein_bench.report.document import Report
from stein_bench.report.packing import unpack_bits
from tests.tiny import write_model


def run(model: str, data: str, **options: Any) -> Report:
    settings = {"model": model, "data": data, "eps": "24/255", "attack": "transfer.pgd", "surrogate": model}
    return run_evaluation(make_config({**settings, **options}))


@pytest.fixture
def weights(model: str, data: str, tmp_path: Path) -> str:
    """Weights for the tiny network whose card asks for an input scaling of its own."""
    plan = prepare(make_config({"model": model, "data": data, "seed": 9, "mean": "0.4", "std": "0.2"}))
    built = build_network(plan, "sample", Silent())
    card = WeightsCard("net", "sample", 3, (0.4,), (0.2,), (3, 8, 8), "tiny", {}, 9)
    save_weights(tmp_path / "surrogate.safetensors", built.network, card)
    return str(tmp_path / "surrogate.safetensors")


def made_by_hand(model: str, data: str, weights: str) -> tuple[Tensor, str]:
    """Return which samples withstand PGD's last iterate on the surrogate with those weights, and its hash."""
    options = {"model": model, "data": data, "eps": "24/255", "attack": "transfer.pgd"}
    plan = prepare(make_config({**options, "surrogate": model, "surrogate_weights": weights}))
    surrogate = plan_surrogate(plan, check_model(plan, build_untrained(plan)))
    assert surrogate is not None
    assert (surrogate.scaling.mean, plan.scaling.mean) == ((0.4,), (0.0,))
    (attack,) = with_surrogate(plan, surrogate, 100, Silent()).attacks
    built = build_network(surrogate, "sample", Silent())
    scaled = surrogate.wrap(built.network).requires_grad_(False)
    inputs, labels = plan.samples.batch(range(60))
    start = random_start(inputs.shape, attack_seeds(0, attack, plan.samples.ids), "Linf", attack.eps)
    search = PGD(plan.task, "Linf", attack.eps, attack.eps / 4, 10, start=lambda *_: start, batch_dependent=True)
    points = search.whole(scaled, Batch.untargeted(inputs, labels, range(60)), 0)
    network = plan.wrap(build_network(plan, "sample", Silent()).network)
    with torch.no_grad():
        return plan.task.correct(network(points), labels) & plan.task.correct(network(inputs), labels), built.sha256


@pytest.mark.usefixtures("unchecked")
def test_what_is_shown_is_what_the_surrogate_made_behind_its_own_scaling(model: str, data: str, weights: str) -> None:
    expected, sha256 = made_by_hand(model, data, weights)
    (variant,) = run(model, data, surrogate_weights=weights).variants
    (attack,) = variant.attacks
    found = unpack_bits(variant.outcomes.robust[attack.label], 60)
    assert np.array_equal(found, expected.numpy())
    assert 0 < found.sum() < round(60 * variant.clean.accuracy)
    assert attack.params["surrogate_sha256"] == sha256
    assert attack.params["surrogate"] == model
    assert f"surrogate_sha256={sha256}" in attack.label


@pytest.mark.usefixtures("unchecked")
def test_all_steps_are_taken_and_counted_on_the_surrogate_whatever_the_batches(
    model: str, data: str, weights: str
) -> None:
    whole, parts = (run(model, data, surrogate_weights=weights, batch_size=size).variants[0] for size in (100, 7))
    assert whole.outcomes == parts.outcomes
    assert [(a.forward_passes, a.backward_passes) for a in (*whole.attacks, *parts.attacks)] == [(600, 600)] * 2


@pytest.mark.integration
def test_a_fitted_surrogate_of_the_same_architecture_is_another_network(model: str, data: str) -> None:
    report = run(model, data, attack=["transfer.pgd", "transfer.torchattacks.MIFGSM", "pgd"])
    first, second, white_box = report.variants[0].attacks
    assert first.params["surrogate_sha256"] == second.params["surrogate_sha256"] != report.model.weights.sha256
    assert white_box.robust_accuracy <= min(first.robust_accuracy, second.robust_accuracy)
    checks = [check.message for check in report.diagnostics if check.name == "white-box-vs-black-box"]
    assert len(checks) == 2
    assert checks[0].startswith("pgd against transfer.pgd: ")
    assert not report.dishonest()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_another_surrogate_is_another_attack(model: str, data: str, weights: str) -> None:
    labels = {
        attack.label
        for options in ({"surrogate_weights": weights}, {}, {"seed": 1})
        for attack in run(model, data, **options).variants[0].attacks
    }
    assert len(labels) == 3


@pytest.mark.usefixtures("unchecked")
def test_the_evaluated_model_may_use_batch_statistics_and_the_surrogate_does_not(
    model: str, data: str, weights: str
) -> None:
    """What the surrogate makes is the same under both sources, so that only what is made of it differs."""
    report = run(model, data, surrogate_weights=weights, stats=["running", "batch"], batch_size=20)
    running, batch = (variant.attacks[0] for variant in report.variants)
    assert running.label == batch.label
    assert (running.forward_passes, batch.forward_passes) == (600, 600)
    assert batch.replay is not None
    assert report.variants[0].outcomes.robust != report.variants[1].outcomes.robust


def test_volumes_have_surrogates_too(tmp_path: Path) -> None:
    (tmp_path / "volume.py").write_text(
        "from torch import nn\n\n\ndef make(num_classes):\n    return nn.Sequential(\n"
        "        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, num_classes))\n"
    )
    labels = np.arange(24) % 2
    volumes = np.random.default_rng(0).integers(0, 90, (24, 6, 6, 6, 1)) + 60 * labels[:, None, None, None, None]
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=volumes.astype(np.uint8), labels=labels)
    source, data = f"{tmp_path / 'volume.py'}:make", f"npz:{tmp_path / 'test.npz'},train={tmp_path / 'train.npz'}"
    report = run(
        source, data, surrogate=source, eps="100/255", attack=["transfer.mifgsm", "transfer.pgd:norm=L2,eps=9"]
    )
    assert not report.dishonest()
    attacks = report.variants[0].attacks
    assert [(a.status, a.forward_passes, a.backward_passes) for a in attacks] == [("ok", 240, 240)] * 2
    with pytest.raises(UsageError, match=r"attack transfer.torchattacks.TIFGSM takes images only"):
        run(source, data, surrogate=source, attack="transfer.torchattacks.TIFGSM")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surrogate": None}, "attack transfer.pgd is crafted on another model: name it with --surrogate."),
        ({"attack": "pgd"}, "is for transfer attacks, but none is given: add for example --attack transfer.mifgsm."),
        ({"surrogate": None, "attack": "pgd", "surrogate_weights": "fit"}, "--surrogate-weights needs --surrogate"),
        ({"surrogate": "resnet10x"}, "--surrogate resnet10x: unknown model 'resnet10x'. Did you mean 'resnet10t'"),
        ({"surrogate_weights": "none"}, "attacks crafted on an untrained network are meaningless"),
        ({"surrogate_weights": "lost.safetensors"}, "no such file: lost.safetensors"),
        ({"surrogate": "vit_tiny_patch16_224"}, "rejects inputs of shape 3×8×8"),
        ({"attack": "transfer.pgd:restarts=2"}, "unknown parameter of transfer.pgd: 'restarts'."),
        ({"attack": "transfer.pgd:surrogate=x"}, "unknown parameter of transfer.pgd: 'surrogate'."),
        ({"attack": "transfer.square"}, "unknown attack 'transfer.square'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    model: str, data: str, own_cache: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(model, data, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (own_cache / "fits").exists()


def test_a_surrogate_tells_the_same_classes_apart(model: str, data: str, tmp_path: Path) -> None:
    other = tmp_path / "four.py"
    other.write_text(Path(write_model(tmp_path).rpartition(":")[0]).read_text().replace("num_classes=3", "classes=4")
                     .replace("64, num_classes", "64, classes").replace("4, num_classes", "4, classes"))  # fmt: skip
    with pytest.raises(UsageError, match=r"has 4 outputs and net.make has 3: a surrogate needs the same classes"):
        run(model, data, surrogate=f"{other}:make")


@pytest.mark.usefixtures("unchecked")
def test_settings_come_from_yaml_too(model: str, data: str, weights: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"surrogate: {model}\nsurrogate-weights: {weights}\nattack: transfer.fgsm\n")
    config = make_config({"model": model, "data": data, "trust_code": True}, file)
    assert (config.surrogate, config.surrogate_weights) == (model, weights)
    (attack,) = run_evaluation(config).variants[0].attacks
    assert (attack.name, attack.forward_passes) == ("transfer.fgsm", 60)


def test_transfer_attacks_are_listed_as_such() -> None:
    assert all(info.access == "transfer" and info.is_transfer for info in TRANSFERS)
    assert {info.method for info in TRANSFERS} <= CATALOG.keys()
    assert not any(info.is_transfer for info in CATALOG.values() if info not in TRANSFERS)
