"""Weights of a file and a model's precision, from the configuration to the network that is evaluated and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.inspection import inspect_model
from stein_bench.evaluation.networks import build_network
from stein_bench.evaluation.surrogate import plan_surrogate, with_surrogate_notes
from stein_bench.models.sources import find_model
from stein_bench.preparation.plan import check_model, prepare
from stein_bench.preparation.untrained import build_untrained, with_untrained
from stein_bench.progress import Silent
from stein_bench.training.config import make_train_config
from stein_bench.training.plan import plan_training, starting_network

FIT = "prefix 'module.model.' removed from the weights' names"


def trained(spec: str, classes: int, seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    network = find_model(spec).build(num_classes=classes)
    network(torch.rand(16, 3, 8, 8))
    return network.eval()


def prefixed(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


@pytest.fixture
def checkpoint(model: str, tmp_path: Path) -> Path:
    """A checkpoint with plain and averaged weights, as training scripts with an EMA write it."""
    plain, averaged = (prefixed(trained(model, 3, seed), "module.model.") for seed in (1, 2))
    file = tmp_path / "model_best.pth.tar"
    torch.save({"epoch": 9, "state_dict": plain, "state_dict_ema": averaged}, file)
    return file


def same(network: nn.Module, other: nn.Module) -> bool:
    pairs = zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize(("key", "seed"), [("state_dict", 1), ("state_dict_ema", 2)])
def test_the_asked_weights_reach_network_and_notes(key, seed, model, data, checkpoint) -> None:
    options = {"model": model, "data": data, "weights": str(checkpoint), "weights_key": key}
    plan, _ = with_untrained(prepare(make_config(options)))
    assert same(build_network(plan, "sample", Silent()).network, trained(model, 3, seed))
    assert plan.model_notes() == (f"weights under '{key}' in model_best.pth.tar", FIT)


def test_inspect_and_train_read_the_same(model, data, checkpoint, tmp_path) -> None:
    options = {"model": model, "data": data, "weights": str(checkpoint), "weights_key": "state_dict_ema"}
    heard: list[str] = []

    class Listening(Silent):
        def note(self, message: str) -> None:
            heard.append(message)

    inspection = inspect_model(make_config(options), progress=Listening())
    assert heard == ["weights under 'state_dict_ema' in model_best.pth.tar", FIT]
    start, origin = starting_network(plan_training(make_train_config({**options, "output": "w.safetensors"})))
    assert same(start, trained(model, 3, 2))
    assert origin is not None
    assert origin.sha256 == inspection.weights_sha256


def test_the_surrogates_weights_have_a_key_of_their_own(model, data, checkpoint) -> None:
    options = {
        "model": model, "data": data, "weights": "none", "attack": "transfer.mifgsm", "limit": 4,
        "surrogate": model, "surrogate_weights": str(checkpoint),
    }  # fmt: skip
    plan = prepare(make_config({**options, "surrogate_weights_key": "state_dict_ema"}))
    surrogate = plan_surrogate(plan, 3)
    assert surrogate is not None
    assert same(build_network(surrogate, "sample", Silent()).network, trained(model, 3, 2))
    notes = with_surrogate_notes(plan, surrogate).model_notes()
    assert notes == ("surrogate: weights under 'state_dict_ema' in model_best.pth.tar", f"surrogate: {FIT}")
    message = r"several weights: state_dict, state_dict_ema\. Choose with --surrogate-weights-key, e\.g\. --surrogate-w"
    with pytest.raises(UsageError, match=message):
        plan_surrogate(prepare(make_config(options)), 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weights_key": "model"},
            r"^--weights-key model says where in a file the weights are: give --weights FILE\.$",
        ),
        ({"weights": "none", "weights_key": "model"}, r"^--weights-key model says where in a file"),
        (
            {"surrogate": "net.py:make", "surrogate_weights_key": "ema", "attack": "transfer.mifgsm"},
            r"--surrogate-weights-key ema says where in a file the weights are: give --surrogate-weights FILE\.$",
        ),
        ({"surrogate_weights_key": "ema"}, r"^--surrogate-weights-key needs --surrogate and --surrogate-weights"),
    ],
)
def test_a_key_without_a_file_is_refused(options, message, data, model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        plan_surrogate(prepare(make_config({"model": model, "data": data, **options})), 3)


def test_no_key_leaves_the_hash_of_a_configuration_as_it_was() -> None:
    """As computed before the two options existed."""
    config = make_config({"model": "resnet18"})
    assert config.sha256() == BEFORE
    assert make_config({"model": "resnet18", "weights_key": "ema"}).sha256() != BEFORE


BEFORE = "d2271bbca5e4cf7dab4f638c1b018197de3c9b1ba119ec5fff8dfb8175583c32"


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.backbone."])
def test_the_number_of_classes_is_read_below_the_prefix(prefix, tmp_path) -> None:
    """Ten data classes, seven in the weights: the network is built for those of the weights."""
    torch.manual_seed(0)
    state = prefixed(find_model("test_resnet").build(num_classes=17), prefix)
    torch.save({"state_dict": state}, tmp_path / "w")
    plan = prepare(make_config({"model": "test_resnet", "weights": str(tmp_path / "w"), "limit": 2}))
    assert plan.num_classes == 17
    network = build_network(plan, "sample", Silent()).network
    assert torch.equal(network.state_dict()["fc.weight"], state[f"{prefix}fc.weight"])


def test_weights_of_stein_layers_are_known_below_the_prefix(model, data, tmp_path) -> None:
    """Their `count` tells that they were not trained with plain BN."""
    state = prefixed(trained(model, 3), "module.")
    torch.save({**state, "module.1.count": torch.tensor(100.0)}, tmp_path / "w")
    options = {"model": model, "data": data, "weights": str(tmp_path / "w")}
    with pytest.raises(UsageError, match=r"are from Stein layers"):
        prepare(make_config(options))
    plan = prepare(make_config({**options, "bn": "stein"}))
    assert build_network(plan, "stein", Silent()).network[1].count == 100


def test_clean_accuracy_and_notes_are_those_of_plain_pytorch(invoke, model, data, checkpoint, tmp_path) -> None:
    """The whole way once: a checkpoint of a training script to the report."""
    report = tmp_path / "r.json"
    result = invoke(
        "evaluate", model, "--data", data, "--weights", checkpoint, "--weights-key", "state_dict_ema",
        "--attack", "fgsm", "--output", report,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(report.read_text())
    network = find_model(model).build(num_classes=3)
    state = torch.load(checkpoint, weights_only=True)["state_dict_ema"]
    network.load_state_dict({name.removeprefix("module.model."): value for name, value in state.items()})
    arrays = np.load(tmp_path / "test.npz")
    images = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        right = (network.eval()(images).argmax(1).numpy() == arrays["labels"]).sum()
    assert found["variants"][0]["clean"]["accuracy"] == right / 60
    assert 0 < right < 60
    assert found["model"]["notes"] == ["weights under 'state_dict_ema' in model_best.pth.tar", FIT]
    assert "weights under 'state_dict_ema' in model_best.pth.tar" in result.stderr
    assert " ".join(FIT.split()) in " ".join(result.stdout.split())


PRECISE = """
import torch
from torch import nn


def plain(num_classes=3):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def half(num_classes=3):
    return plain().half()


def double(num_classes=3):
    return plain().double()


def mixed(num_classes=3):
    network = plain()
    network[0].bfloat16()
    network[1].double()
    return network


def lazy(num_classes=3):
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3)).half()


class Casting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = plain().half()

    def forward(self, x):
        return self.inner(x.half())


def large(num_classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 3))


class Broken(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()

    def forward(self, x):
        raise RuntimeError("no license found")
"""


@pytest.mark.parametrize(
    ("name", "built"),
    [("half", "float16"), ("double", "float64"), ("mixed", "bfloat16 and float64"), ("lazy", "float16"), ("plain", "")],
)
def test_models_in_other_precisions_are_run_in_float32_with_a_note(name, built, data, tmp_path) -> None:
    (tmp_path / "precise.py").write_text(PRECISE)
    plan = prepare(make_config({"model": f"{tmp_path / 'precise.py'}:{name}", "data": data, "weights": "none"}))
    plan, network = with_untrained(plan)
    assert plan.model_notes() == ((f"the model is built in {built}; it is run in float32",) if built else ())
    for each in (network, build_network(plan, "sample", Silent()).network):
        assert {value.dtype for value in each.state_dict().values()} <= {torch.float32, torch.int64}
    assert check_model(plan, network) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Casting", r"rejects .*Half.*\. Models are run in float32: leave out half\(\), double\(\) and conversions of"),
        ("large", r"rejects inputs of shape 3×8×8: .*shapes.*\. Another --image-size may fit\.$"),
        ("Broken", r"rejects inputs of shape 3×8×8: no license found\.$"),
    ],
)
def test_what_may_help_follows_from_the_error(name, message, data, tmp_path) -> None:
    (tmp_path / "precise.py").write_text(PRECISE)
    plan = prepare(make_config({"model": f"{tmp_path / 'precise.py'}:{name}", "data": data, "weights": "none"}))
    with pytest.raises(UsageError, match=message):
        check_model(plan, build_untrained(plan))


def test_training_starts_in_float32_too(data, tmp_path) -> None:
    (tmp_path / "precise.py").write_text(PRECISE)
    spec = f"{tmp_path / 'precise.py'}:half"
    plan = plan_training(make_train_config({"model": spec, "data": data, "output": "w.safetensors"}))
    assert plan.base.model_notes() == ("the model is built in float16; it is run in float32",)
    network, _ = starting_network(plan)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
