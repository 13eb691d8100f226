"""`run_training` from configuration to weights and card: checks, outputs, resuming and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stein_bench.attacks.attack import resolve_attack
from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.sources import find_model
from stein_bench.models.weights import read_weights
from stein_bench.parts.user_code import import_file
from stein_bench.progress import Silent
from stein_bench.training.checkpoint import checkpoint_path
from stein_bench.training.config import TrainConfig, make_train_config
from stein_bench.training.run import TrainedNetwork, run_training


def train(net: str, folder: Path, name: str = "w", progress: Any = None, **options: Any) -> TrainedNetwork:
    settings = {"model": net, "limit": 300, "epochs": 2, "batch_size": 32, "learning_rate": 1e-2, **options}
    settings["output"] = str(folder / f"{name}.safetensors")
    return run_training(make_train_config(settings), command="stein-bench train …", progress=progress)


class Interrupting(Silent):
    """Presses Ctrl-C at the note about the given epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def note(self, message: str) -> None:
        if message.startswith(f"epoch {self.epoch}/"):
            raise KeyboardInterrupt


@pytest.mark.integration
def test_weights_card_and_evaluation_agree(net: str, tmp_path: Path) -> None:
    trained = train(net, tmp_path, bn="stein", epochs=6, recipe="fit")
    card = json.loads((tmp_path / "w.json").read_text())
    assert card == json.loads(trained.card.to_json())
    assert [record["epoch"] for record in card["epochs"]] == [1, 2, 3, 4, 5, 6]
    assert card["epochs"][-1]["loss"] < card["epochs"][0]["loss"]
    assert (card["bn"], card["data"]["trained_on"], card["kept_epoch"]) == ("stein", 300, 6)
    assert card["recipe"]["name"] == "fit"
    assert not checkpoint_path(trained.path).exists()
    inner = read_weights(trained.path).card
    assert inner is not None
    assert (inner.bn, inner.num_classes, inner.input_shape, inner.recipe["epochs"]) == ("stein", 10, (3, 32, 32), 6)
    report = run_evaluation(
        RunConfig(model=net, weights=str(trained.path), attack=("fgsm:eps=1/255",), limit=100)  # type: ignore[arg-type]
    )
    (variant,) = report.variants
    assert (variant.bn, variant.conversion, variant.layers_of_unknown_count) == ("stein", "before-training", 0)
    assert variant.clean.accuracy > 0.3  # chance is a tenth


@pytest.mark.integration
def test_equal_trainings_give_equal_files_and_other_seeds_others(net: str, tmp_path: Path) -> None:
    files = [
        train(net, tmp_path, name, seed=seed, recipe="cifar10").path.read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert files[0] == files[1] != files[2]


@pytest.mark.integration
@pytest.mark.parametrize("recipe", ["fit", "cifar10"])
def test_a_resumed_training_gives_the_same_bytes(net: str, tmp_path: Path, recipe: str) -> None:
    whole = train(net, tmp_path, "whole", bn="stein", epochs=3, recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        train(net, tmp_path, "cut", bn="stein", epochs=3, recipe=recipe, progress=Interrupting(2))
    left = checkpoint_path(tmp_path / "cut.safetensors")
    assert left.exists()
    with pytest.raises(UsageError, match="add --resume to continue, or delete it"):
        train(net, tmp_path, "cut", bn="stein", epochs=3, recipe=recipe)
    resumed = train(net, tmp_path, "cut", bn="stein", epochs=3, recipe=recipe, resume=True)
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert not left.exists()
    assert {path.name for path in tmp_path.glob("*cut*")} == {"cut.safetensors", "cut.json"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "initial weights, seed"),
        ({"bn": "jsnorm"}, "bn"),
        ({"epochs": 4}, "recipe"),
        ({"limit": 200}, "data"),
        ({"adversarial": "fgsm"}, "adversarial"),
        ({"mean": "0.5", "std": "0.5"}, "scaling"),
        ({"precision": "bf16"}, "precision"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    net: str, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(net, tmp_path, bn="stein", progress=Interrupting(1))
    with pytest.raises(UsageError, match=rf"belongs to a different training run \(differs in {named}"):
        train(net, tmp_path, **{"bn": "stein", "resume": True, **change})


@pytest.mark.integration
def test_a_finished_training_is_returned_by_resume_and_repeated_without(net: str, tmp_path: Path) -> None:
    first = train(net, tmp_path)
    written = first.path.stat().st_mtime_ns
    again = train(net, tmp_path, resume=True)
    assert again.card == first.card
    assert first.path.stat().st_mtime_ns == written
    with pytest.raises(UsageError, match=r"w\.json belongs to a different training run \(differs in .*seed\)"):
        train(net, tmp_path, resume=True, seed=3)
    train(net, tmp_path, seed=3)
    assert first.path.stat().st_mtime_ns != written
    first.path.write_bytes(b"other")
    with pytest.raises(UsageError, match="is not the weights file that"):
        train(net, tmp_path, resume=True, seed=3)


def test_a_file_that_is_not_a_checkpoint_is_refused(net: str, tmp_path: Path) -> None:
    checkpoint_path(tmp_path / "w.safetensors").write_text("nonsense")
    with pytest.raises(UsageError, match="is not the checkpoint of an interrupted training run"):
        train(net, tmp_path, resume=True)


@pytest.mark.integration
def test_fine_tuning_starts_from_converted_weights_and_records_it(net: str, tmp_path: Path) -> None:
    plain = train(net, tmp_path, "plain")
    common = {"weights": str(plain.path), "bn": "stein", "learning_rate": 1e-9, "epochs": 1}
    tuned = train(net, tmp_path, "tuned", **common)
    kept = train(net, tmp_path, "kept", preserve_function=True, **common)
    before, after, compensated = (load_file(made.path) for made in (plain, tuned, kept))
    torch.testing.assert_close(after["0.weight"], before["0.weight"])
    torch.testing.assert_close(after["1.weight"], before["1.weight"], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(compensated["1.bias"], before["1.bias"], atol=1e-2)
    for made, preserved in ((tuned, False), (kept, True)):
        start = made.card.started_from
        assert start is not None
        assert (start.weights, start.bn, start.function_preserved) == (str(plain.path), "sample", preserved)
    back = train(net, tmp_path, "back", weights=str(kept.path), bn="sample", epochs=1, preserve_function=True)
    assert "1.count" not in load_file(back.path)
    assert back.card.started_from is not None
    assert back.card.started_from.bn == "stein"


class Listening(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_what_is_to_be_said_of_the_model_is_told_once(net: str, tmp_path: Path) -> None:
    progress = Listening()
    torch.save({"state_dict": find_model(net).build(num_classes=10).state_dict()}, tmp_path / "start.pth")
    train(net, tmp_path, progress=progress, weights=str(tmp_path / "start.pth"), epochs=1, limit=40)
    assert progress.notes.count("weights under 'state_dict' in start.pth") == 1


def test_a_shorthand_for_the_adversary_is_told_and_the_card_has_its_full_name(net: str, tmp_path: Path) -> None:
    progress = Listening()
    torch.manual_seed(0)
    torch.save(
        {"state_dict": import_file(Path(net.partition(":")[0]), "net.py").make().state_dict()}, tmp_path / "a.pt"
    )
    options = {"adversarial": "PGD1:epsilon=1/255", "weights": str(tmp_path / "a.pt"), "epochs": 1, "limit": 40}
    made = train(net, tmp_path, progress=progress, **options)
    assert progress.notes[:-1] == [
        "weights under 'state_dict' in a.pt",
        "attack PGD1: taken as pgd:steps=1, epsilon as eps",
    ]
    assert made.card.adversarial == resolve_attack("pgd:steps=1,eps=1/255").label


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "resnet8"}, "unknown model 'resnet8'"),
        ({"bn": "stien"}, "unknown estimator 'stien'"),
        ({"data": "digit"}, "unknown data set 'digit'"),
        ({"recipe": "cifar"}, "unknown recipe 'cifar'"),
        ({"weights": "missing.safetensors"}, "no such file"),
        ({"weights": "fit"}, "--weights fit: training starts from none, pretrained or a file of weights."),
        ({"weights": "auto"}, "--weights auto: training starts from none, pretrained or a file of weights."),
        ({"weights": "pretraind"}, "no such file: pretraind. Did you mean 'pretrained'?"),
        ({"weights": "scratch"}, "no such file: scratch. Did you mean 'none'?"),
        ({"adversarial": "AA"}, "--adversarial takes pgd, fgsm, mifgsm with their parameters, not autoattack."),
        ({"mean": "123.675,116.28,103.53"}, "--mean: these look like values for inputs in 0..255"),
        ({"adversarial": "pdg"}, "unknown attack 'pdg'"),
        ({"adversarial": "square"}, "--adversarial takes pgd, fgsm, mifgsm"),
        ({"adversarial": "pgd:stepz=3"}, "unknown parameter of pgd: 'stepz'"),
        ({"preserve_function": True, "bn": "stein"}, "is for trained weights whose BN changes"),
        ({"weights": "pretrained"}, "has no pretrained weights"),
        ({"epochs": 0}, "--epochs: input should be greater"),
        ({"learning_rate": "fast"}, "--learning-rate: should be a number"),
        ({"limit": 2, "recipe": "cifar10"}, "leaves one part empty"),
        ({"precision": "fp16"}, "--precision"),
    ],
)
def test_each_mistake_is_found_before_anything_is_trained(
    net: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        train(**{"net": net, "folder": tmp_path, **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*w*"))


def test_networks_without_bn_and_data_without_training_split(net: str, tmp_path: Path) -> None:
    without = net.replace(":make", ":no_bn")
    with pytest.raises(UsageError, match="has no BatchNorm layer"):
        train(without, tmp_path, bn="stein")
    assert train(without, tmp_path).card.bn == "sample"
    import numpy as np

    file = tmp_path / "test.npz"
    np.savez(file, images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(UsageError, match="has no training split to train on"):
        train(net, tmp_path, data=f"npz:{file}")


def test_outputs_that_cannot_be_written_are_refused(net: str, tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        train(net, tmp_path, "folder")
    with pytest.raises(UsageError, match="there is no folder"):
        train(net, tmp_path / "missing")
    with pytest.raises(UsageError, match=r"--output: the name must end in \.safetensors"):
        make_train_config({"model": net, "output": "w.pth"})


def test_every_option_can_be_set_in_a_file_under_its_name(tmp_path: Path) -> None:
    settings = {
        "model": "m", "data": "cifar10", "bn": "stein", "recipe": "cifar10", "epochs": 3, "batch-size": 8,
        "learning-rate": 0.1, "weight-decay": 0.0, "weights": "w.safetensors", "weights-key": "model",
        "preserve-function": True,
        "adversarial": "pgd", "limit": 7, "workers": 2, "seed": 3, "device": "cpu", "precision": "bf16",
        "compile": True, "mean": [0.1], "std": [0.2], "image-size": 16, "output": "o.safetensors", "plot": "p.png",
        "format": "json", "resume": True, "quiet": True, "offline": True,
    }  # fmt: skip
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump(settings))
    known = {name.replace("_", "-") for name in TrainConfig.model_fields}
    assert {*settings, "trust-code"} == known  # a file cannot vouch for itself
    assert make_train_config({}, file).document() == settings
    assert make_train_config({"seed": 5}, file).seed == 5
    with pytest.raises(UsageError, match="no output given"):
        make_train_config({"model": "m"})


@pytest.mark.slow
def test_a_compiled_training_learns_the_same(net: str, tmp_path: Path) -> None:
    plain, compiled = (train(net, tmp_path, name, compile=on) for name, on in (("plain", False), ("compiled", True)))
    assert compiled.card.identity["compile"] is True
    for one, other in zip(plain.card.epochs, compiled.card.epochs, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=0.05)  # dropout draws other numbers
    assert load_file(plain.path).keys() == load_file(compiled.path).keys()


def test_mixed_precision_trains(net: str, tmp_path: Path) -> None:
    exact, mixed = (train(net, tmp_path, name, precision=name, epochs=1) for name in ("fp32", "bf16"))
    assert mixed.card.environment.precision == "bf16"
    assert mixed.card.epochs[0].loss == pytest.approx(exact.card.epochs[0].loss, rel=0.05)
    assert mixed.card.epochs[0].loss != exact.card.epochs[0].loss
    assert {tensor.dtype for tensor in load_file(mixed.path).values()} == {torch.float32, torch.int64}
