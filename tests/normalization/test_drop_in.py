"""Stein layers do all that the layers they replace do."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradgradcheck

from stein_bench.normalization.convert import convert_batchnorm
from tests.normalization.kinds import ESTIMATORS, KINDS, activations, trained_layer

MODES = ["training", "batch", "running"]


def in_mode(layer, mode):
    layer.stats = "running" if mode == "running" else "batch"
    return layer.train(mode == "training")


@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_are_the_ordinary_ones(kind):
    plain_class, stein_class, _ = KINDS[kind]
    arguments = inspect.signature(plain_class).parameters
    settings = {"eps": 1e-3, "momentum": 0.3, "affine": False, "track_running_stats": False}
    layer, plain = stein_class(4, **settings), plain_class(4, **settings)
    assert all(getattr(layer, name) == value for name, value in settings.items())
    assert list(layer.state_dict()) == list(plain.state_dict())
    by_position = list(settings.values())[: len(arguments) - 1]
    assert stein_class(4, *by_position).momentum == 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_weights_go_both_ways(kind, estimator):
    layer, _ = trained_layer(kind, estimator)
    plain = KINDS[kind][0](4)
    report = plain.load_state_dict(layer.state_dict(), strict=False)
    assert (report.missing_keys, report.unexpected_keys) == ([], ["count"])
    layer.load_state_dict(plain.state_dict())
    assert int(layer.count) == 0
    for name, value in plain.state_dict().items():
        assert torch.equal(layer.state_dict()[name], value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("settings", [{"momentum": None}, {"affine": False}, {"track_running_stats": False}])
def test_settings_work_and_running_averages_are_the_ordinary_ones(kind, estimator, settings):
    plain_class, _, shape = KINDS[kind]
    layer, x = trained_layer(kind, estimator, **settings)
    if kind != "sync":  # the ordinary one refuses the CPU
        plain = plain_class(4, **settings)
        for seed in (1, 2):
            plain(activations(shape, seed=seed))
        for name, value in plain.named_buffers():
            torch.testing.assert_close(dict(layer.named_buffers())[name], value)
    assert layer.eval()(x).isfinite().all()
    if estimator == "sample" and kind != "sync":
        plain.load_state_dict(layer.state_dict(), strict=False)
        assert torch.equal(layer(x), plain.eval()(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_compute_the_same_and_are_independent(kind, estimator, duplicate):
    layer, x = trained_layer(kind, estimator)
    before = layer.eval()(x)
    twin = duplicate(layer)
    assert torch.equal(twin(x), before)
    twin.running_mean += 1
    assert torch.equal(layer(x), before)
    assert not torch.equal(twin(x), before)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_kept_in_pickles(kind):
    layer, x = trained_layer(kind)
    before = set(layer.__getstate__())
    layer.eval()(x)
    assert set(layer.__getstate__()) == before
    layer.running_var.mul_(2)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_half_precision_computes_inside_in_single(kind, dtype, mode, estimator):
    layer, x = trained_layer(kind, estimator)
    in_mode(layer, mode)
    wide, x = copy.deepcopy(layer), x.to(dtype)
    half = x.clone().requires_grad_()
    full = x.float().requires_grad_()
    y = layer(half)
    expected = wide(full)
    grad = activations(x.shape, dtype, seed=5)
    y.backward(grad)
    expected.backward(grad.float())
    assert y.dtype == half.grad.dtype == dtype
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(half.grad.float(), full.grad, rtol=4 * tolerance, atol=tolerance)
    torch.testing.assert_close(layer.weight.grad, wide.weight.grad, rtol=0.03, atol=0.1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_layer_in_half_precision_and_autocast_are_finite(mode, estimator):
    layer, x = trained_layer("2d", estimator)
    in_mode(layer, mode)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = nn.Sequential(nn.Conv2d(4, 4, 1), layer)(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert layer.weight.grad.isfinite().all()
    assert layer.half()(x.half()).isfinite().all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_channels_last_stays_and_computes_the_same(mode, estimator):
    layer, x = trained_layer("2d", estimator)
    in_mode(layer, mode)
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        own = x.clone(memory_format=memory_format).requires_grad_()
        y = layer(own)
        y.backward(activations(x.shape, seed=3).contiguous(memory_format=memory_format))
        assert y.is_contiguous(memory_format=memory_format)
        assert own.grad.is_contiguous(memory_format=memory_format)
        results.append((y, own.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_any_layout_of_gradients_will_do(mode, estimator):
    layer, x = trained_layer("2d", estimator)
    in_mode(layer, mode)
    for strided in (x.mT.contiguous().mT, x.transpose(0, 3).contiguous().transpose(0, 3), x[:, :, ::2], x[::2]):
        grads = []
        for grad in (torch.ones(1).expand(strided.shape), torch.ones(strided.shape)):
            for values in (strided, strided.contiguous()):
                own = values.detach().requires_grad_()
                layer(own).square().backward(grad)
                grads.append(own.grad)
        for grad in grads[1:]:
            torch.testing.assert_close(grad, grads[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_frozen_parameters_get_no_gradient_and_input_does(kind, mode):
    layer, x = trained_layer(kind)
    in_mode(layer, mode).requires_grad_(False)
    x.requires_grad_()
    layer(x).square().sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is layer.bias.grad is None
    layer.weight.requires_grad_()
    layer(x.detach()).square().sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_fresh_layer_is_finite(kind, estimator):
    _, stein_class, shape = KINDS[kind]
    x = activations(shape).requires_grad_()
    y = stein_class(4, estimator=estimator).eval()(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_derivatives_of_other_kinds(mode, estimator):
    layer, x = trained_layer("2d", estimator)
    in_mode(layer.double(), mode)
    x, tangent = x[:3, :, :2, :1].double(), activations((3, 4, 2, 1), torch.float64, seed=4)
    parameters = dict(layer.named_parameters())

    def function(x):
        buffers = {name: value.clone() for name, value in layer.named_buffers()}
        return torch.func.functional_call(layer, {**parameters, **buffers}, (x,))

    step = 1e-6
    expected = (function(x + step * tangent) - function(x - step * tangent)) / (2 * step)
    with forward_ad.dual_level():
        forward = forward_ad.unpack_dual(function(forward_ad.make_dual(x, tangent))).tangent
    transformed = torch.func.jvp(function, (x,), (tangent,))[1]
    torch.testing.assert_close(forward, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(transformed, expected, atol=1e-5, rtol=1e-5)
    grad = torch.func.grad(lambda x: (function(x) * tangent).sum())(x)
    torch.testing.assert_close((grad * tangent).sum(), (expected * tangent).sum(), atol=1e-4, rtol=1e-4)
    assert gradgradcheck(function, (x.requires_grad_(),), atol=1e-4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_evaluation_vectorizes_over_samples(estimator):
    layer, x = trained_layer("2d", estimator)
    one_by_one = torch.vmap(lambda sample: layer.eval()(sample[None])[0])(x)
    torch.testing.assert_close(one_by_one, layer(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_the_kept_activations_are_input_and_vectors(kind, mode):
    layer, x = trained_layer(kind)
    layer = in_mode(layer, mode)
    if kind == "act2d":
        layer.act = nn.Identity()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda t: t):
        layer(x.requires_grad_())
    large = {tensor.data_ptr() for tensor in kept if tensor.numel() > 4}
    assert large == {x.data_ptr()}


def test_parameters_keep_their_identity_for_optimisers():
    model = nn.Sequential(nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    convert_batchnorm(model, "stein")
    before = model[0].weight.clone()
    model(activations((6, 4, 3, 2))).pow(3).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, before)
