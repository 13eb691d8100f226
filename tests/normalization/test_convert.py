"""Conversion of whole models: what changes, what stays, and what the summary says."""

import copy

import pytest
import torch
from torch import nn

import stein_bench
from stein_bench.errors import UsageError
from stein_bench.normalization.convert import (
    batchnorm_stats,
    convert_batchnorm,
    has_batchnorm,
    restore_batchnorm,
)
from stein_bench.normalization.layers import SteinBatchNorm1d, SteinBatchNorm2d, SteinBatchNorm3d

X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def small_model() -> nn.Module:
    """Return a network with three trained-looking BN layers and one instance norm."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.InstanceNorm2d(8),
        nn.Conv2d(8, 5, 3),
        nn.BatchNorm2d(5),
        nn.Flatten(),
        nn.Linear(80, 4),
        nn.BatchNorm1d(4),
    )
    for layer in model:
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.2, 3)
            layer.weight.data.normal_()
            layer.bias.data.normal_()
    return model.eval()


def test_the_account_names_every_layer_and_reason():
    model, summary = convert_batchnorm(small_model(), "ridge:0.30")
    assert (summary.estimator, summary.stats) == ("ridge:0.3", "running")
    assert [(c.name, c.kind, c.channels, c.count) for c in summary.converted] == [
        ("1", "BatchNorm2d", 8, None),
        ("5", "BatchNorm2d", 5, None),
        ("8", "BatchNorm1d", 4, None),
    ]
    assert [(s.name, s.kind) for s in summary.skipped] == [("3", "InstanceNorm2d")]
    assert "instance norm" in summary.skipped[0].reason
    assert summary.variance_not_shrunk == ("1", "5", "8")
    assert [type(model[i]) for i in (1, 5, 8)] == [SteinBatchNorm2d, SteinBatchNorm2d, SteinBatchNorm1d]


@pytest.mark.parametrize("stats", ["running", "batch"])
@pytest.mark.parametrize("training", [False, True])
def test_sample_conversion_is_ordinary_batch_normalization_bit_for_bit(stats, training):
    plain = small_model().train(training)
    model, _ = convert_batchnorm(copy.deepcopy(plain), "sample", stats=stats)
    if stats == "batch" and not training:
        plain.train()
    assert torch.equal(model(X), plain(X))
    if training:
        assert torch.equal(model[1].running_var, plain[1].running_var)


def test_stein_conversion_changes_the_function():
    plain = small_model()
    model, _ = convert_batchnorm(copy.deepcopy(plain), "stein")
    assert not torch.allclose(model(X), plain(X), atol=1e-2)


def test_running_statistics_do_not_depend_on_the_batch_and_batch_statistics_do():
    model, _ = convert_batchnorm(small_model(), "stein", count=50)
    assert torch.allclose(model(X)[:1], model(X[:1]), atol=1e-6)
    with batchnorm_stats(model, "batch"):
        assert not torch.allclose(model(X)[:2], model(X[:2]), atol=1e-2)


def test_evaluation_on_batch_statistics_changes_no_buffer():
    model, _ = convert_batchnorm(small_model(), "stein", stats="batch")
    before = copy.deepcopy(model.state_dict())
    model(X)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("count", [None, 2, 300])
@pytest.mark.parametrize("estimator", ["stein", "stein-mean", "jsnorm", "james-stein", "ridge:0.3", "lasso:0.3"])
def test_preserve_function_preserves_it(estimator, count):
    plain = small_model().double()
    model, _ = convert_batchnorm(copy.deepcopy(plain), estimator, preserve_function=True, count=count)
    assert torch.allclose(model(X.double()), plain(X.double()), atol=1e-9)
    again, _ = convert_batchnorm(model, "jsnorm", preserve_function=True)
    assert torch.allclose(again(X.double()), plain(X.double()), atol=1e-9)
    restored = restore_batchnorm(again, preserve_function=True)
    for key, value in plain.state_dict().items():
        assert torch.allclose(restored.state_dict()[key], value)


def test_restoring_is_exact():
    plain = small_model()
    model, _ = convert_batchnorm(copy.deepcopy(plain), "stein", count=7)
    restored = restore_batchnorm(model)
    assert restored.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, restored.state_dict()[key]) for key, value in plain.state_dict().items())
    assert [type(a) for a in plain.modules()] == [type(b) for b in restored.modules()]
    assert torch.equal(restored(X), plain(X))
    assert vars(restored[1]).keys() == vars(plain[1]).keys()


@pytest.mark.parametrize(
    ("layer", "stein_class"),
    [
        (nn.BatchNorm1d(3), SteinBatchNorm1d),
        (nn.BatchNorm2d(3), SteinBatchNorm2d),
        (nn.BatchNorm3d(3), SteinBatchNorm3d),
    ],
)
def test_a_single_layer_is_a_model(layer, stein_class):
    model, summary = stein_bench.convert_batchnorm(layer)
    assert type(model) is stein_class
    assert summary.converted[0].name == ""
    assert stein_bench.restore_batchnorm(model) is model


def test_converting_again_changes_the_estimator_and_keeps_the_count():
    model, _ = convert_batchnorm(small_model(), "stein", count=10)
    _, summary = convert_batchnorm(model, "jsnorm", stats="batch", count=99)
    assert {layer.count for layer in summary.converted} == {10.0}
    assert (model[1].estimator, model[1].stats) == ("jsnorm", "batch")
    assert summary.variance_not_shrunk == ()


def test_the_context_puts_each_layers_statistics_back_also_after_an_error():
    model, _ = convert_batchnorm(small_model())
    model[5].stats = "batch"

    def fail_inside():
        with batchnorm_stats(model, "batch") as inside:
            assert {inside[i].stats for i in (1, 5, 8)} == {"batch"}
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert [model[i].stats for i in (1, 5, 8)] == ["running", "batch", "running"]


def test_has_batchnorm():
    model = small_model()
    assert has_batchnorm(model)
    assert has_batchnorm(convert_batchnorm(model)[0])
    assert not has_batchnorm(nn.Sequential(nn.Linear(2, 2), nn.InstanceNorm1d(2)))


def test_a_model_without_batch_normalization_has_an_empty_account():
    _, summary = convert_batchnorm(nn.Linear(2, 2))
    assert summary.converted == summary.skipped == ()


def test_plain_weights_load_strictly_and_leave_the_count_unknown():
    weights = small_model().state_dict()
    model, _ = convert_batchnorm(small_model(), "stein", count=10)
    model.load_state_dict(weights)
    assert int(model[1].count) == 0
    assert not any(key.endswith("count") for key in weights)


def test_stein_weights_keep_their_count():
    model, _ = convert_batchnorm(small_model(), "stein", count=10)
    other, _ = convert_batchnorm(small_model(), "stein")
    other.load_state_dict(model.state_dict())
    assert int(other[5].count) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimator": "stien"}, "Did you mean 'stein'"),
        ({"stats": "runing"}, "Did you mean 'running'"),
        ({"count": 1}, "bad count 1: .* 2 or more"),
        ({"count": 2.5}, "bad count"),
        ({"count": float("inf")}, "bad count"),
    ],
)
def test_bad_arguments_change_nothing(arguments, message):
    model = small_model()
    with pytest.raises(UsageError, match=message):
        convert_batchnorm(model, **arguments)
    assert type(model[1]) is nn.BatchNorm2d


@pytest.mark.parametrize("problem", ["has no γ and β", "has no running statistics", "shares its γ or β"])
def test_preserve_function_says_which_layer_cannot_be_compensated(problem):
    model = small_model()
    if problem == "has no γ and β":
        model[5] = nn.BatchNorm2d(5, affine=False)
    elif problem == "has no running statistics":
        model[5] = nn.BatchNorm2d(5, track_running_stats=False)
    else:
        model.append(nn.BatchNorm1d(5))
        model[9].weight = model[5].weight
    with pytest.raises(UsageError, match=f"layer '5'.*{problem}"):
        convert_batchnorm(model, preserve_function=True)
    assert type(model[1]) is nn.BatchNorm2d
