"""Weights come back as they were saved, and files or networks that do not fit are refused in one line."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.models.sources import find_model
from stein_bench.models.weights import (
    Weights,
    WeightsCard,
    classifier_size,
    load_weights,
    read_weights,
    save_weights,
    state_sha256,
)

CARD = WeightsCard(
    model="timm:resnet18",
    bn="stein",
    num_classes=4,
    mean=(0.1, 0.2, 0.3),
    std=(1.0, 1.0, 1.0),
    input_shape=(3, 32, 32),
    data="digits",
    recipe={"epochs": 8, "milestones": [4, 6]},
    seed=0,
)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))


def holding(state: dict[str, torch.Tensor]) -> Weights:
    return Weights(state, None, "", "w.pth")


def test_saved_weights_come_back_with_their_card(tmp_path):
    network, file = small(), tmp_path / "w.safetensors"
    sha256 = save_weights(file, network, CARD)
    weights = read_weights(file)
    assert weights.card == CARD
    assert weights.sha256 == sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert weights.path == str(file)
    other = small()
    load_weights(other, weights)
    assert state_sha256(other) == state_sha256(network)
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_equal_weights_give_equal_files(tmp_path):
    network = small()
    first = save_weights(tmp_path / "a.safetensors", network, CARD)
    assert save_weights(tmp_path / "b.safetensors", network, CARD) == first


def test_tied_and_transposed_tensors_are_saved(tmp_path):
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    network[2].weight = nn.Parameter(torch.rand(4, 4).T)
    save_weights(tmp_path / "w.safetensors", network, CARD)
    weights = read_weights(tmp_path / "w.safetensors")
    assert torch.equal(weights.state["1.weight"], network[0].weight)
    assert torch.equal(weights.state["2.weight"], network[2].weight)


def test_a_save_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"old")

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UsageError, match=r"^cannot write .*w\.safetensors: OSError: disk full$"):
        save_weights(file, small(), CARD)
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_weights_are_saved_as_safetensors_only(tmp_path):
    with pytest.raises(UsageError, match=r"w\.pth: weights are saved as \.safetensors\.$"):
        save_weights(tmp_path / "w.pth", small(), CARD)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"^cannot write .*: FileNotFoundError: "):
        save_weights(tmp_path / "none" / "w.safetensors", small(), CARD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"w\.safetensors: its stein_bench card is not JSON\.$"),
        ("[]", r"its stein_bench card is not a JSON object\.$"),
        ('{"format": 2}', r"its stein_bench card has format 2, this version reads 1\.$"),
        ('{"format": 1}', r"its stein_bench card has a missing or wrong 'bn'\.$"),
    ],
)
def test_a_broken_card_is_one_line(tmp_path, text, message):
    safetensors.torch.save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", {"stein_bench": text})
    with pytest.raises(UsageError, match=message):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_classes", "ten"),
        ("num_classes", True),
        ("mean", [0.1, "x"]),
        ("std", 1.0),
        ("input_shape", [3.5]),
        ("recipe", []),
        ("model", None),
        ("seed", 0.5),
    ],
)
def test_a_card_with_a_wrong_value_names_it(tmp_path, field, value):
    file = tmp_path / "w.safetensors"
    save_weights(file, small(), CARD)
    with safetensors.safe_open(file, framework="pt") as opened:
        card = json.loads(opened.metadata()["stein_bench"])
    safetensors.torch.save_file({"w": torch.zeros(1)}, file, {"stein_bench": json.dumps({**card, field: value})})
    with pytest.raises(UsageError, match=rf"card has a missing or wrong '{field}'\.$"):
        read_weights(file)


def test_safetensors_from_elsewhere_have_no_card(tmp_path):
    safetensors.torch.save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", {"format": "pt"})
    assert read_weights(tmp_path / "w.safetensors").card is None


def test_all_that_does_not_fit_is_one_error_and_the_network_untouched():
    network = small()
    before = state_sha256(network)
    state = {name: torch.ones_like(value) for name, value in network.state_dict().items()}
    state["3.weight"] = torch.ones(9, 8)
    del state["0.bias"]
    state["head.bias"] = torch.ones(2)
    message = (
        r"^the weights in w\.pth do not fit the model; missing 1: 0\.bias; unexpected 1: head\.bias; "
        r"of another shape 1: 3\.weight \(9, 8\) instead of \(4, 8\)\.$"
    )
    with pytest.raises(UsageError, match=message):
        load_weights(network, holding(state))
    assert state_sha256(network) == before


def test_at_most_five_names_of_each_kind_are_listed():
    network = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(7)))
    with pytest.raises(
        UsageError, match=r"missing 7: 0\.weight, 1\.w\w+, 2\.w\w+, 3\.w\w+, 4\.weight, …; unexpected 1: x"
    ):
        load_weights(network, holding({"x": torch.zeros(1)}))


def test_absent_num_batches_tracked_is_no_error():
    network = small()
    network[1].num_batches_tracked.fill_(5)
    state = {name: value for name, value in small().state_dict().items() if "num_batches" not in name}
    load_weights(network, holding(state))
    assert network[1].num_batches_tracked == 5
    assert torch.equal(network[0].weight, state["0.weight"])


class Counting(nn.BatchNorm2d):
    """Batch normalization with a buffer `count`, as a Stein layer has."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("count", torch.tensor(32.0))


@pytest.mark.parametrize("network", [Counting(8), nn.Sequential(Counting(8))])
def test_an_absent_count_of_a_stein_layer_keeps_its_value(network):
    state = {name: value + 1 for name, value in network.state_dict().items() if not name.endswith("count")}
    load_weights(network, holding(state))
    assert {name: float(value) for name, value in network.named_buffers() if name.endswith("count")} == {
        name: 32.0 for name, _ in network.named_buffers() if name.endswith("count")
    }
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_a_present_count_is_loaded():
    network = Counting(8)
    load_weights(network, holding({**network.state_dict(), "count": torch.tensor(64.0)}))
    assert network.count == 64


def test_an_absent_count_of_anything_else_is_an_error():
    network = nn.Linear(1, 1)
    network.register_buffer("count", torch.zeros(1))
    with pytest.raises(UsageError, match=r"missing 1: count\.$"):
        load_weights(network, holding(nn.Linear(1, 1).state_dict()))


def test_one_name_of_a_tied_tensor_is_enough():
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    network[1].weight = network[0].weight
    load_weights(network, holding({"0.weight": torch.ones(2, 2)}))
    assert torch.equal(network[1].weight, torch.ones(2, 2))


def test_the_state_hash_does_not_depend_on_the_order_of_layers():
    first = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    second = nn.ModuleDict({"b": first["b"], "a": first["a"]})
    assert state_sha256(first) == state_sha256(second)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.weight.data.view(-1)[0].add_(1),
        lambda layer: layer.bfloat16(),
        lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight.data.view(3, 2))),
        lambda layer: layer.register_buffer("more", torch.zeros(())),
    ],
)
def test_the_state_hash_follows_values_dtypes_shapes_and_names(change):
    layer = nn.Linear(3, 2)
    before = state_sha256(layer)
    change(layer)
    assert state_sha256(layer) != before


def test_the_card_says_how_many_classes_there_are():
    assert classifier_size(find_model("test_resnet"), Weights({}, CARD, "", "")) == 4


@pytest.mark.parametrize(
    "spec", ["timm:test_resnet", "timm:test_vit", "timm:resnetv2_50", "timm:deit_tiny_distilled_patch16_224"]
)
def test_timms_classifier_tells_the_number_of_classes(spec):
    state = find_model(spec).build(num_classes=17).state_dict()
    assert classifier_size(find_model(spec), holding(state)) == 17


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet", "regnet_y_400mf"]
)
def test_torchvisions_classifier_tells_the_number_of_classes(name):
    """The order of the entries does not matter: safetensors files sort them."""
    state = find_model(f"torchvision:{name}").build(num_classes=17).state_dict()
    weights = holding(dict(sorted(state.items())))
    assert classifier_size(find_model(f"torchvision:{name}"), weights) == 17


def test_looking_for_the_classifier_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    classifier_size(find_model("torchvision:squeezenet1_1"), holding({}))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_known_classifier_the_number_of_classes_is_unknown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(2, 3)\n")
    state = holding(timm.create_model("test_resnet").state_dict())
    assert classifier_size(find_model("mine.py:make"), state) is None
    assert classifier_size(find_model("timm:test_resnet"), holding({"x": torch.zeros(1)})) is None
