"""A network that a file defines is evaluated with its weights, and the report says whose they are."""

from __future__ import annotations

import pytest
import torch

from stein_bench.config import make_config
from stein_bench.errors import UsageError
from stein_bench.evaluation.networks import build_network
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.sources import find_model
from stein_bench.preparation.plan import check_model, prepare
from stein_bench.preparation.untrained import build_untrained, with_untrained
from stein_bench.progress import Silent
from stein_bench.training.config import make_train_config
from stein_bench.training.plan import plan_training, starting_network
from tests.tiny import write_data

NET = """
import torch
from torch import nn

def make(num_classes=3, pretrained=False):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )
    if pretrained:
        network.load_state_dict(model.state_dict())
    return network

model = make()
model[1].running_mean += torch.arange(4)
two = make(2)
"""


@pytest.fixture
def data(write, tmp_path):
    """Write net.py and a small data set of three classes, and return its spec."""
    write(NET)
    return write_data(tmp_path, n=9)


def network_of(model, data, **options):
    plan = prepare(make_config({"model": model, "data": data, **options}))
    blank = build_untrained(plan)
    check_model(plan, blank)
    return plan, build_network(plan, "sample", Silent())


def test_a_copy_of_the_instance_is_built(write):
    write(NET)
    source = find_model("./net.py:model")
    assert (source.spec, source.name, source.own_weights) == ("net.py:model", "net.model", True)
    first, second = source.build(num_classes=3), source.build(num_classes=None)
    assert first is not second
    assert all(torch.equal(first.state_dict()[name], tensor) for name, tensor in second.state_dict().items())
    first[1].running_mean.zero_()
    assert source.build(num_classes=3)[1].running_mean[3] == 3
    write(NET, "netfile.py")
    assert find_model("netfile:model").spec == "netfile:model"


@pytest.mark.parametrize("importing", ["net.py:model", "netfile:model"])
def test_random_weights_of_an_instance_do_not_depend_on_the_seed_before(write, tmp_path, monkeypatch, importing):
    """The import draws from a generator of its own, which leaves the global one as it was."""
    found = []
    for folder, seed in (("a", 1), ("b", 2)):
        write(NET, f"{folder}/net.py")
        write(NET, f"{folder}/netfile.py")
        monkeypatch.chdir(tmp_path / folder)
        torch.manual_seed(seed)
        expected = torch.rand(1)
        torch.manual_seed(seed)
        found.append(find_model(importing).build(num_classes=3)[0].weight)
        assert torch.equal(torch.rand(1), expected)
    assert torch.equal(*found)


def test_the_fingerprint_follows_the_weights(write, tmp_path):
    write("import torch\nfrom torch import nn\nmodel = nn.Linear(2, 2)\nmodel.load_state_dict(torch.load('w.pt'))\n")
    prints = []
    for value in (0.0, 1.0):
        torch.save({"weight": torch.full((2, 2), value), "bias": torch.zeros(2)}, "w.pt")
        write((tmp_path / "net.py").read_text() + "\n")
        prints.append(find_model("net.py:model").fingerprint())
    assert prints[0] != prints[1]


@pytest.mark.parametrize("weights", ["auto", "none"])
@pytest.mark.parametrize(
    ("model", "note"),
    [
        ("net.py:model", "weights: those of the instance net.py:model"),
        ("net.py:make,pretrained=true", "weights: those that net.py:make,pretrained=true loads"),
    ],
)
def test_own_weights_are_evaluated_as_built_and_said_so(data, model, note, weights):
    plan, built = network_of(model, data, weights=weights, bn=["sample", "stein"])
    assert (plan.weights_kind, plan.model_notes()) == ("own", (note,))
    assert torch.equal(built.network[1].running_mean, torch.arange(4.0))
    assert build_network(plan, "stein", Silent()).conversion == "after-training"


LOADED = """
import torch
from torch import nn

def make(num_classes=5, pretrained=True):
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Linear(4, 5))
    if pretrained:
        network.load_state_dict({name: torch.ones_like(value) for name, value in network.state_dict().items()})
    if num_classes != 5:  # as timm does
        network[2] = nn.Linear(4, num_classes)
    return network
"""


def test_a_classifier_that_is_not_loaded_but_random_is_no_weights(write, tmp_path):
    """The callable gets the data's number of classes, and replaces the classifier of its weights for it."""
    write(LOADED)
    data = write_data(tmp_path, n=9)
    plans = {
        (model, weights): prepare(make_config({"model": model, "data": data, "weights": weights}))
        for model in ("net.py:make", "net.py:make,num_classes=5")
        for weights in ("auto", "none", "fit")
    }
    with pytest.raises(
        UsageError,
        match=r"^net\.py:make comes with weights, but 2 of 4 tensors are random, not loaded: 2\.weight, 2\.bias; they "
        r"may be for another number of classes than 3\. Use --weights fit to train it further, a file of weights, or",
    ):
        with_untrained(plans["net.py:make", "auto"])
    notes = {key: with_untrained(plan)[0].notes for key, plan in plans.items() if key != ("net.py:make", "auto")}
    assert {key for key, found in notes.items() if found} == {("net.py:make", "none")}
    assert notes["net.py:make", "none"] == ("2 of 4 tensors are random, not loaded: 2.weight, 2.bias",)


def test_function_preserving_conversion_is_for_own_weights_too(data):
    plan, _ = network_of("net.py:model", data, bn="stein", preserve_function=True)
    assert build_network(plan, "stein", Silent()).function_preserved


def test_without_own_weights_nothing_changes(data):
    plan = prepare(make_config({"model": "net.py:make,pretrained=false", "data": data}))
    assert (plan.weights_kind, plan.model_notes()) == ("fit", ())


def test_fit_trains_further_and_says_so(data):
    plan = prepare(make_config({"model": "net.py:model", "data": data, "weights": "fit"}))
    assert (plan.weights_kind, plan.model_notes()) == (
        "fit",
        ("weights: trained further from those of the instance net.py:model",),
    )


def test_a_file_of_weights_replaces_them(data, tmp_path):
    torch.save(find_model("net.py:make").build(num_classes=3).state_dict(), tmp_path / "w.pth")
    plan, built = network_of("net.py:model", data, weights=str(tmp_path / "w.pth"))
    assert (plan.weights_kind, plan.model_notes()) == ("file", ())
    assert built.network[1].running_mean.eq(0).all()


def test_training_from_own_weights_is_not_called_from_scratch(data, tmp_path):
    config = make_train_config({"model": "net.py:model", "data": data, "output": str(tmp_path / "out.safetensors")})
    network, start = starting_network(plan_training(config))
    assert torch.equal(network[1].running_mean, torch.arange(4.0))
    assert (start.weights, start.bn) == ("net.py:model", "sample")


def test_the_report_of_an_instance_is_repeatable(data):
    reports = [
        run_evaluation(make_config({"model": "net.py:model", "data": data, "attack": "fgsm", "limit": 6, "seed": seed}))
        for seed in (0, 1)
    ]
    assert [report.model.weights.kind for report in reports] == ["own", "own"]
    assert reports[0].model.weights.sha256 == reports[1].model.weights.sha256
    assert reports[0].model.notes == ["weights: those of the instance net.py:model"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("net.py:two", "the model has 2 outputs, but the data has labels up to 2"),
        ("net.py:model,depth=3", r"^net\.py:model is a network and takes no arguments; name what builds it\.$"),
        ("net.py:uncopied", r"^the network net\.py:uncopied cannot be copied \(TypeError: .*\): name a function that"),
    ],
)
def test_an_instance_that_does_not_fit_is_one_line(data, write, model, message):
    write(NET + "\nuncopied = make()\nuncopied.stream = (item for item in ())\n")
    with pytest.raises(UsageError, match=message):
        network_of(model, data)


def test_an_instance_has_no_published_weights(write):
    write(NET)
    with pytest.raises(UsageError, match=r"^net\.py:model has no pretrained weights, only its own: use"):
        find_model("net.py:model").build(num_classes=3, pretrained=True)
