"""The Stein layers: training, running averages and gradients."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from stein_bench.errors import UsageError
from stein_bench.normalization.estimators import estimator as estimator_function
from stein_bench.normalization.functional import batch_moments
from stein_bench.normalization.layers import SteinBatchNorm1d, SteinBatchNorm2d, SteinBatchNorm3d

ESTIMATORS = ["sample", "stein", "stein-mean", "jsnorm", "james-stein", "ridge:0.3", "lasso:0.1"]
RANKS = {
    "1d-flat": (SteinBatchNorm1d, (5, 4)),
    "1d": (SteinBatchNorm1d, (3, 4, 3)),
    "2d": (SteinBatchNorm2d, (3, 4, 2, 2)),
    "3d": (SteinBatchNorm3d, (2, 4, 2, 1, 2)),
}


def random_like_activations(shape, dtype=torch.float64):
    """Return elements whose channels differ in mean and spread."""
    generator = torch.Generator().manual_seed(0)
    per_channel = (1, shape[1], *[1] * (len(shape) - 2))
    scale = torch.rand(per_channel, generator=generator, dtype=dtype) + 0.5
    shift = torch.randn(per_channel, generator=generator, dtype=dtype) + 1
    return torch.randn(shape, generator=generator, dtype=dtype) * scale + shift


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("mode", ["training", "batch", "running"])
def test_gradients_of_input_gamma_and_beta(rank, estimator, mode):
    layer_class, shape = RANKS[rank]
    layer = layer_class(4, estimator=estimator, stats="running" if mode == "running" else "batch").double()
    layer.running_mean.normal_()
    layer.train(mode == "training")
    weight = torch.tensor([1.5, 0.0, -0.7, 1.0], dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def function(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert gradcheck(function, (random_like_activations(shape).requires_grad_(), weight, bias))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_evaluation_after_training_uses_the_running_sample_moments_and_the_last_count(estimator):
    x = random_like_activations((6, 4, 3, 3))
    layer = SteinBatchNorm2d(4, estimator=estimator, momentum=1.0).double()
    layer(x)
    assert torch.allclose(layer.running_mean, x.mean((0, 2, 3)))
    assert torch.allclose(layer.running_var, x.var((0, 2, 3), correction=1))
    assert int(layer.count) == 54

    correction = 1 if estimator == "sample" else 0
    m, s = estimator_function(estimator)(x.mean((0, 2, 3)), x.var((0, 2, 3), correction=correction), 54)
    expected = (x - m.view(-1, 1, 1)) / (s.view(-1, 1, 1) + layer.eps).sqrt()
    assert torch.allclose(layer.eval()(x), expected)


@pytest.mark.parametrize("estimator", ["sample", "stein"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_averages_are_those_of_ordinary_layers(estimator, momentum):
    plain, layer = (
        nn.BatchNorm2d(4, momentum=momentum),
        SteinBatchNorm2d(4, momentum=momentum, estimator=estimator),
    )
    for n in (3, 5, 2):
        x = random_like_activations((n, 4, 3, 3), torch.float32)
        plain(x), layer(x)
    assert torch.allclose(layer.running_mean, plain.running_mean)
    assert torch.allclose(layer.running_var, plain.running_var)
    assert layer.num_batches_tracked == plain.num_batches_tracked
    assert int(layer.count) == 18


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_batch_of_one_element_per_channel_leaves_variance_and_count_alone(estimator):
    layer = SteinBatchNorm1d(4, estimator=estimator)
    layer(torch.randn(8, 4))
    variance = layer.running_var.clone()
    x = torch.randn(1, 4, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert torch.equal(layer.running_var, variance)
    assert int(layer.count) == 8


def test_without_running_averages_evaluation_uses_the_batch():
    x = random_like_activations((6, 4, 3, 3), torch.float32)
    layer = SteinBatchNorm2d(4, track_running_stats=False)
    assert layer.count is None
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert torch.equal(layer(x), layer.eval()(x))


def test_state_dict_keys_are_the_ordinary_ones_and_count():
    keys = list(nn.BatchNorm2d(4).state_dict())
    assert list(SteinBatchNorm2d(4).state_dict()) == [*keys, "count"]


def test_resetting_forgets_the_count():
    layer = SteinBatchNorm1d(4)
    layer(torch.randn(8, 4))
    layer.reset_running_stats()
    assert int(layer.count) == 0


def test_bad_settings_are_named():
    with pytest.raises(UsageError, match="estimator 'stine'"):
        SteinBatchNorm2d(4, estimator="stine")
    with pytest.raises(UsageError, match="statistics source 'test'"):
        SteinBatchNorm2d(4).stats = "test"


def test_an_empty_batch_changes_nothing():
    layer = SteinBatchNorm2d(4)
    x = torch.zeros(0, 4, 2, 2, requires_grad=True)
    found = layer(x)
    assert found.shape == (0, 4, 2, 2)
    assert int(layer.num_batches_tracked) == 0
    found.sum().backward()
    assert x.grad.shape == x.shape


def test_the_unknown_count_of_running_averages_is_infinite_on_their_device():
    layer = SteinBatchNorm2d(4).to("meta")
    layer.count = None
    assert layer.sample_moments()[2].device.type == "meta"
    layer = SteinBatchNorm2d(4)
    layer.count = None
    assert [float(values.max()) for values in layer.sample_moments()] == [0, 1, torch.inf]


def test_the_moments_of_nothing_are_zero_and_those_of_one_element_its_own():
    assert [values.tolist() for values in batch_moments(torch.zeros(0, 3, 2))] == [[0, 0, 0]] * 2
    assert [values.tolist() for values in batch_moments(torch.full((1, 1, 1), 4.0))] == [[4], [0]]
