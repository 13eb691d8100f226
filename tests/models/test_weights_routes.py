"""The same weights through every route, formats × wrappings × prefixes, give the network that plain PyTorch gives."""

from __future__ import annotations

import argparse
import collections
import copy
import pathlib

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.models.weights import Weights, fit_weights, load_weights, read_weights


class Net(nn.Module):
    """A convolution, BN, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


class Holding(nn.Module):
    """A network whose own names begin with a prefix that wrappers use."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Net()

    def forward(self, x):
        return self.backbone(x)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    network = Net()
    network(torch.rand(8, 3, 5, 5))  # running statistics, and a batch that was tracked
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(1))


def as_numpy(state):
    return {name: value.numpy() for name, value in state.items()}


FORMATS = {
    "zip": torch.save,
    "legacy": lambda content, file: torch.save(content, file, _use_new_zipfile_serialization=False),
}
NAMES = {"zip": "best.pth.tar", "legacy": "resnet32-d509ac18.th"}
BESIDE = {
    "epoch": 3,
    "best_acc1": torch.tensor(71.5),
    "args": argparse.Namespace(lr=0.1, output=pathlib.PurePosixPath("/out")),
    "metric": np.float64(71.5),
    "history": collections.defaultdict(list, {"loss": [np.float32(0.5)]}),
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(4, 3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    "torch_version": torch.__version__,
}
LIGHTNING = {
    "pytorch-lightning_version": "2.5.0",
    "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.rand(2)}},
    "hyper_parameters": {"mean": torch.rand(3)},
}
WRAPPINGS = {
    None: lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "state_dict_ema": None, **BESIDE},
    "model": lambda state: {**BESIDE, "model": state},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "net": lambda state: {"net": state, "acc": 95.1, "epoch": 1},
    "network": lambda state: {"network": state},
    "ema": lambda state: {"ema": state},
    "model_ema": lambda state: {"model_ema": state},
    "state_dict_ema": lambda state: {"state_dict_ema": state},
    "ema.state_dict": lambda state: {"ema": {"decay": 0.9, "state_dict": state}},
    "snapshot.weights": lambda state: {"snapshot": {"weights": state, "seed": 1}, "mean": torch.rand(3)},
    "state_dict ": lambda state: {"state_dict": state, **LIGHTNING},
}
PREFIXES = ("", "module.", "_orig_mod.", "model.", "net.", "encoder.", "module._orig_mod.model.backbone.", "resnet.")


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_route_gives_the_network_of_plain_pytorch(kind, wrapping, trained, images, tmp_path):
    file = tmp_path / NAMES[kind]
    network = Net().eval()
    for prefix in PREFIXES:
        state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
        FORMATS[kind](WRAPPINGS[wrapping](state), file)
        weights = fit_weights(read_weights(file), network.state_dict())
        nn.init.zeros_(network.fc.weight)
        load_weights(network, weights)
        assert torch.equal(network(images), trained(images)), prefix
        assert all(torch.equal(value, trained.state_dict()[name]) for name, value in network.state_dict().items())
        where = [f"weights under '{wrapping.strip()}' in {file.name}"] if wrapping else []
        removed = [f"prefix '{prefix}' removed from the weights' names"] if prefix else []
        assert list(weights.notes) == where + removed, prefix


@pytest.mark.parametrize("prefix", PREFIXES)
def test_safetensors_under_any_name_give_the_same(prefix, trained, images, tmp_path):
    state = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "model.bin")
    network = Net().eval()
    load_weights(network, read_weights(tmp_path / "model.bin"))
    assert torch.equal(network(images), trained(images))


@pytest.mark.parametrize("order", ["<", ">"])
def test_numpy_arrays_are_tensors(order, trained, images, tmp_path):
    """As in the files of detectron2's model zoo, saved by torch."""
    arrays = as_numpy(trained.state_dict())
    arrays = {name: array.astype(array.dtype.newbyteorder(order)) for name, array in arrays.items()}
    arrays["conv.weight"] = np.asfortranarray(arrays["conv.weight"])
    torch.save({"model": arrays, "__author__": "me"}, tmp_path / "w.pkl")
    network = Net().eval()
    load_weights(network, read_weights(tmp_path / "w.pkl"))
    assert torch.equal(network(images), trained(images))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
def test_a_prefix_of_the_networks_own_stays(prefix, trained, images, tmp_path):
    inner = {f"{prefix}backbone.{name}": value for name, value in trained.state_dict().items()}
    torch.save(inner, tmp_path / "w")
    network = Holding().eval()
    load_weights(network, read_weights(tmp_path / "w"))
    assert torch.equal(network(images), trained(images))


def test_wrappers_between_layers_are_removed(trained, images, tmp_path):
    """As torchvision's AlexNet and VGG were trained, with DataParallel around the features."""
    names = {"conv.weight": "conv.module.weight", "conv.bias": "conv.module.bias"}
    torch.save({names.get(name, name): value for name, value in trained.state_dict().items()}, tmp_path / "w")
    network = Net().eval()
    weights = fit_weights(read_weights(tmp_path / "w"), network.state_dict())
    load_weights(network, weights)
    assert torch.equal(network(images), trained(images))
    assert weights.notes == ("'module.' removed within the weights' names",)


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ({"criterion.weight": torch.ones(3)}, "1 entry of the weights outside 'model.' left out: criterion.weight"),
        (
            {f"ema_model.module.{name}": value + 1 for name, value in Net().state_dict().items()},
            "9 entries of the weights outside 'model.' left out: ema_model.module.conv.weight, "
            "ema_model.module.conv.bias, ema_model.module.bn.weight, ema_model.module.bn.bias, "
            "ema_model.module.bn.running_mean, …",
        ),
    ],
)
def test_what_lightning_modules_hold_besides_the_network_is_left_out_and_noted(extra, note, trained, images, tmp_path):
    state = {f"model.{name}": value for name, value in trained.state_dict().items()}
    torch.save({"state_dict": {**extra, **state}, **LIGHTNING}, tmp_path / "last.ckpt")
    network = Net().eval()
    weights = fit_weights(read_weights(tmp_path / "last.ckpt"), network.state_dict())
    load_weights(network, weights)
    assert torch.equal(network(images), trained(images))
    assert weights.notes == (
        "weights under 'state_dict' in last.ckpt",
        "prefix 'model.' removed from the weights' names",
        note,
    )


def changed(network, change):
    return {name: change(value) if value.is_floating_point() else value for name, value in network.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda value: nn.Parameter(value.clone()),
        lambda value: value.clone().requires_grad_(),
        lambda value: value.repeat_interleave(2, -1)[..., ::2] if value.dim() else value,
        lambda value: torch.cat([value.reshape(-1), value.reshape(-1)])[value.numel() :].reshape(value.shape),
        lambda value: value.double(),
    ],
    ids=["parameters", "gradients", "not contiguous", "views", "float64"],
)
def test_tensors_of_any_kind_have_the_same_values(change, trained, images, tmp_path):
    torch.save(changed(trained.state_dict(), change), tmp_path / "w")
    network = Net().eval()
    load_weights(network, read_weights(tmp_path / "w"))
    assert torch.equal(network(images), trained(images))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize(
    ("dtype", "note"),
    [
        (torch.float16, "8 of 9 tensors in w are in float16 and were converted to float32"),
        (torch.bfloat16, "8 of 9 tensors in w are in bfloat16 and were converted to float32"),
        (torch.float64, "8 of 9 tensors in w are in float64 and were rounded to float32"),
    ],
)
def test_other_precisions_are_converted_with_a_note(dtype, note, trained, images, tmp_path):
    torch.save(changed(trained.state_dict(), lambda value: value.to(dtype)), tmp_path / "w")
    expected = copy.deepcopy(trained).to(dtype).float()
    weights, network = read_weights(tmp_path / "w"), Net().eval()
    load_weights(network, weights)
    assert torch.equal(network(images), expected(images))
    assert {value.dtype for value in weights.state.values()} == {torch.float32, torch.int64}
    assert weights.notes == (note,)


def test_counters_that_were_averaged_in_float32_are_integers_again(trained, tmp_path):
    torch.save({name: value.float() for name, value in trained.state_dict().items()}, tmp_path / "w")
    network = Net()
    load_weights(network, read_weights(tmp_path / "w"))
    assert network.bn.num_batches_tracked == 1
    assert network.bn.num_batches_tracked.dtype == torch.int64


def test_entries_that_are_not_tensors_are_left_out_with_a_note(trained, images, tmp_path):
    torch.save({**trained.state_dict(), "epoch": 3, "_metadata": collections.OrderedDict()}, tmp_path / "w")
    weights, network = read_weights(tmp_path / "w"), Net().eval()
    load_weights(network, weights)
    assert torch.equal(network(images), trained(images))
    assert weights.notes == ("entries of w that are not tensors were left out: epoch (int), _metadata (OrderedDict)",)


PLAIN, AVERAGED = Net().state_dict(), {name: value + 1 for name, value in Net().state_dict().items()}
SEVERAL = {
    "state_dict, state_dict_ema": {"state_dict": PLAIN, "state_dict_ema": AVERAGED},
    "model, ema.state_dict": {"model": PLAIN, "ema": {"state_dict": AVERAGED, "decay": 0.9}},
    "model, averaged": {"model": PLAIN, "averaged": {f"module.{name}": value for name, value in AVERAGED.items()}},
    "generator, discriminator": {"generator": PLAIN, "discriminator": {"a.weight": torch.ones(2, 2)}},
}


@pytest.mark.parametrize("keys", SEVERAL)
def test_of_several_weights_none_is_taken_unasked(keys, tmp_path):
    torch.save(SEVERAL[keys], tmp_path / "w")
    first, _, second = keys.partition(", ")
    with pytest.raises(UsageError) as raised:
        read_weights(tmp_path / "w")
    assert str(raised.value) == (
        f"{tmp_path / 'w'} holds several weights: {keys}. Choose with --weights-key, e.g. --weights-key {first}; they "
        "may be those of the last step, averaged ones (EMA), or another network's."
    )
    for key in (first, second):
        weights = read_weights(tmp_path / "w", key)
        content = SEVERAL[keys]
        for part in key.split("."):
            content = content[part]
        assert all(torch.equal(value, content[name]) for name, value in weights.state.items())
        assert weights.notes == (f"weights under '{key}' in w",)
        assert weights.state.keys() == content.keys()


def test_a_key_may_stop_above_the_weights_and_reach_into_their_names(tmp_path):
    state = {f"{part}.{name}": value for part in ("student", "teacher") for name, value in PLAIN.items()}
    torch.save({"run": {"state_dict": state}}, tmp_path / "w")
    assert read_weights(tmp_path / "w", "run").key == "run.state_dict"
    assert read_weights(tmp_path / "w", "run.state_dict.teacher").state.keys() == PLAIN.keys()


@pytest.mark.parametrize("names", [("student", "teacher"), ("model", "net")])
def test_of_several_parts_that_fit_none_is_taken_unasked(names, tmp_path):
    state = {f"{part}.{name}": value for part in names for name, value in PLAIN.items()}
    torch.save({"state_dict": state}, tmp_path / "w")
    message = (
        rf"w holds more than the model's weights; what fits is under state_dict\.{names[0]}, state_dict\.{names[1]}: "
        rf"choose with --weights-key, e\.g\. --weights-key state_dict\.{names[0]}\.$"
    )
    with pytest.raises(UsageError, match=message):
        load_weights(Net(), read_weights(tmp_path / "w"))


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (
            {"state_dict": PLAIN, "state_dict_ema": AVERAGED},
            "state_dikt",
            r"^--weights-key state_dikt: .*w has no weights there\. Did you mean 'state_dict' or 'state_dict_ema'\?$",
        ),
        ({"model": PLAIN}, "x", r"^--weights-key x: .*w has no weights there\. It has model\.$"),
        (PLAIN, "model", r"^--weights-key model: .*w has no weights there\. Its weights need no key\.$"),
        ({"model": PLAIN, "info": {"lr": 1}}, "info", r"w, under 'info', is not a state_dict: its entry 'lr' is"),
    ],
)
def test_a_wrong_key_is_one_line(content, key, message, tmp_path):
    torch.save(content, tmp_path / "w")
    with pytest.raises(UsageError, match=message):
        read_weights(tmp_path / "w", key)


def test_averages_without_names_are_noted(tmp_path):
    """As torch-ema saves them."""
    torch.save({"model": PLAIN, "ema": {"decay": 0.9, "shadow_params": list(PLAIN.values())}}, tmp_path / "w")
    assert read_weights(tmp_path / "w").notes == (
        "weights under 'model' in w",
        "averaged weights under 'ema' in w have no names and were left out",
    )


def test_settings_and_mappings_that_hold_themselves_are_no_weights(tmp_path):
    content = {"model": PLAIN, "ema": {"decay": torch.tensor(0.9)}}
    content["self"] = content
    torch.save(content, tmp_path / "w")
    with pytest.raises(UsageError, match=r"w holds several weights: model, self\.model, self\.self\.model"):
        read_weights(tmp_path / "w")
    assert read_weights(tmp_path / "w", "model").key == "model"
    del content["self"]
    torch.save(content, tmp_path / "w")
    assert read_weights(tmp_path / "w").notes == ("weights under 'model' in w",)


def given(state):
    return Weights(state, None, "", "w.pth")


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


HEADS = {"fc.weight": torch.ones(10, 4), "fc.bias": torch.ones(10)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {**PLAIN, **HEADS},
            r"of another shape 2: fc\.weight \(10, 4\) instead of \(3, 4\), fc\.bias \(10\) instead of \(3\)\. The "
            r"classifier fc has 10 classes in the weights, the model was built for 3: use data or a model with the ",
        ),
        (
            {name.replace("fc", "head.fc"): value for name, value in PLAIN.items()},
            r"missing 2: fc\.weight, fc\.bias; unexpected 2: head\.fc\.weight, head\.fc\.bias\. The weights name the "
            r"same layers differently, e\.g\. head\.fc\.weight for fc\.weight: name the model that they are from",
        ),
        (
            dict(sorted((name.replace("bn", "norm1"), value) for name, value in PLAIN.items())),
            r"missing 4: bn\.weight, bn\.bias, bn\.running_mean, bn\.running_var; unexpected 5: norm1\.bias, .*\. "
            r"The weights name the same layers differently, e\.g\. norm1\.bias for bn\.bias",
        ),
        (
            {**PLAIN, "conv.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8)},
            r"of another kind 1: conv\.weight int8 instead of float32\.$",
        ),
        (
            {**PLAIN, "bn.num_batches_tracked": torch.tensor(0.5)},
            r"of another kind 1: bn\.num_batches_tracked float32 instead of int64\.$",
        ),
        (
            {f"model.{name}": value for name, value in without(PLAIN, "fc.bias").items()} | {"fc.bias": torch.ones(3)},
            r"missing 1: fc\.bias\. How they were read: prefix 'model\.' removed .*; 1 entry .* left out: fc\.bias\.$",
        ),
    ],
    ids=["classes", "renamed", "renamed and sorted", "integers", "fraction", "needed outside the prefix"],
)
def test_weights_that_do_not_fit_are_never_loaded_in_part(state, message):
    network = Net()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(UsageError, match=message):
        load_weights(network, given(state))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.to(torch.float8_e4m3fn), r"conv\.weight is in float8_e4m3fn: save the weights in float32"),
        (lambda value: value.to(torch.complex64), r"conv\.weight is in complex64: save the weights in float32\.$"),
        (lambda value: value.to("meta"), r"conv\.weight has no values: it was saved from the meta device\.$"),
        (
            lambda value: value.double() * 1e300,
            r"conv\.weight has values beyond float32, in which stein-bench evaluates",
        ),
        (lambda value: value.to_sparse(), r"conv\.weight is sparse: save it dense, with to_dense\(\)\.$"),
        (
            lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            r"conv\.weight is quantized: save the weights of the model before quantization",
        ),
    ],
)
def test_tensors_that_float32_cannot_stand_for_are_refused(change, message, tmp_path):
    torch.save(changed(PLAIN, change), tmp_path / "w")
    with pytest.raises(UsageError, match=message):
        read_weights(tmp_path / "w")
