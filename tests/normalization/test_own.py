"""Estimators that people bring: found, tried once, and used by layers like those of stein-bench."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.normalization import SteinBatchNorm2d, convert_batchnorm, estimator, stein
from stein_bench.normalization.names import estimator_identity, parse_estimator
from stein_bench.parts.brought import forgotten
from tests.normalization import own_estimators

X = torch.rand(6, 8, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _forgotten():
    with forgotten():
        yield


def converted(name, stats="running"):
    return convert_batchnorm(nn.BatchNorm2d(8), name, stats=stats)[0]


def test_a_copy_of_an_estimator_gives_the_layers_of_the_original_in_training_and_evaluation():
    for function, name in [(own_estimators.like_stein, "stein"), (own_estimators.like_james_stein, "james-stein")]:
        mine, known = converted(function), converted(name)
        for layer in (mine, known):
            layer.train()
        x, z = X.clone().requires_grad_(True), X.clone().requires_grad_(True)
        one, other = mine(x), known(z)
        (one.square().sum() + one[0].sum()).backward()
        (other.square().sum() + other[0].sum()).backward()
        assert torch.allclose(one, other, atol=1e-6)
        assert torch.allclose(x.grad, z.grad, atol=1e-4)
        for layer in (mine, known):
            layer.eval()
        assert torch.allclose(mine(X), known(X), atol=1e-6)
        assert mine.count == known.count == 150


def test_its_own_pull_back_takes_the_place_of_autograd():
    calls = []

    def half(mean, variance, count):
        return mean / 2, variance

    def pull_back(mean, variance, count, mean_grad, variance_grad):
        calls.append(count)
        return mean_grad / 2, variance_grad

    expected = converted(half).train()
    x = X.clone().requires_grad_(True)
    expected(x)[0].sum().backward()
    half.pull_back = pull_back
    layer = converted(half).train()
    calls.clear()
    z = X.clone().requires_grad_(True)
    layer(z)[0].sum().backward()
    assert calls == [150]
    assert torch.allclose(z.grad, x.grad, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("negative", "a variance is negative with 8 channels and count 64"),
        ("unbounded", "the mean is not finite with 8 channels and count inf"),
        ("whole_numbers", "the mean is of type torch.int64, not of floating point"),
        ("only_one", "returned a Tensor; expected mean and variance, each of shape"),
        ("other_shape", r"returned \(8,\), \(\); expected mean and variance, each of shape \(8,\)"),
        ("raises", r"failed: ValueError: no \(.*own_estimators.py, line \d+\)"),
        ("wrong_pull_back", "the gradient of the mean by its pull_back differs from that of autograd"),
        ("number", "is no function of"),
        ("hlaf", "has no 'hlaf'. Did you mean 'half'"),
    ],
)
def test_what_is_no_estimator_is_refused_before_it_is_used(name, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_estimator(f"{own_estimators.__file__}:{name}")
    assert "\n" not in str(caught.value)


def test_a_file_a_module_and_an_object_are_the_same_estimator():
    by_file = parse_estimator(f"{own_estimators.__file__}:half")
    by_module = parse_estimator("tests.normalization.own_estimators:half")
    layer = converted(own_estimators.half)
    assert layer.estimator == "tests.normalization.own_estimators:half" == str(by_module)
    assert by_file.own.sha256 == by_module.own.sha256 == layer.own_estimator.sha256
    moments = torch.ones(8), torch.ones(8), 4
    for name in (by_file, by_module):
        assert torch.equal(estimator(name)(*moments)[0], torch.full((8,), 0.5))
    assert estimator_identity("tests.normalization.own_estimators:half").endswith(by_module.own.sha256)
    assert estimator_identity("stein") == "stein"


def test_it_is_tried_once_and_again_after_an_edit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "calls = []\ndef mine(mean, variance, count):\n    calls.append(count)\n    return mean * {}, variance\n"
    (tmp_path / "mine.py").write_text(code.format(0.5))
    first = parse_estimator("mine.py:mine").own
    calls = first.part.code.module.calls
    tried = len(calls)
    assert tried > 0
    assert parse_estimator("mine.py:mine").own is first
    assert len(calls) == tried
    (tmp_path / "mine.py").write_text(code.format(0.25))
    again = parse_estimator("mine.py:mine").own
    assert again.sha256 != first.sha256
    assert float(again(torch.ones(4), torch.ones(4), math.inf)[0][0]) == 0.25


def test_layers_with_it_are_copied_pickled_and_converted_on():
    layer = converted(own_estimators.half)
    layer.train()(X)
    layer.eval()
    expected = layer(X)
    assert torch.equal(copy.deepcopy(layer)(X), expected)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(X), expected)
    assert "own_estimators:half" in repr(layer)
    assert torch.equal(convert_batchnorm(layer, "sample")[0](X), nn.functional.batch_norm(
        X, layer.running_mean, layer.running_var, layer.weight, layer.bias))  # fmt: skip
    assert SteinBatchNorm2d(8, estimator="tests.normalization.own_estimators:half").estimator == layer_name()
    assert stein(torch.ones(8), torch.ones(8), 4)[0].shape == (8,)


def layer_name():
    return "tests.normalization.own_estimators:half"


@pytest.mark.parametrize("text", ["mine.py", "nowhere.py:half", "half", "tests.normalization.own_estimators:half:3"])
def test_a_name_that_means_nothing_says_what_to_write(text):
    with pytest.raises(UsageError, match=r"Your own is FILE.py:NAME|no such file|takes no arguments"):
        parse_estimator(text)


def test_a_stored_layer_says_why_its_estimator_cannot_be_had():
    found_again, (spec, sha256) = parse_estimator(own_estimators.__file__ + ":like_stein").own.__reduce__()
    assert found_again(spec, sha256).spec == spec
    with pytest.raises(UsageError, match="of the stored layers has been edited since"):
        found_again(spec, "0" * 64)
    with pytest.raises(UsageError, match="of the stored layers is not to be found here"):
        found_again("nobody", sha256)
