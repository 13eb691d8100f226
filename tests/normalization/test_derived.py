"""Running moments are derived anew exactly when something they are derived from has changed."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stein_bench.normalization import derived
from stein_bench.normalization.context import is_watched, runs_plainly
from stein_bench.normalization.layers import SteinBatchNorm2d
from tests.normalization.kinds import activations

X = activations((3, 4, 2, 2))


def evaluated_layer():
    layer = SteinBatchNorm2d(4)
    layer(activations((6, 4, 3, 3), seed=1))
    layer.eval()(X)
    return layer


def fresh_output(layer):
    """Return what a layer of the same state computes that has kept nothing."""
    twin = copy.deepcopy(layer)
    assert twin._derived is None
    return twin(X)


def load_other(layer):
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})


def train_once(layer):
    layer.train()(activations((5, 4, 3, 3), seed=2))
    layer.eval()


def through_numpy(layer):
    layer.running_mean.numpy()[0] = 7


def in_inference_mode(layer):
    with torch.inference_mode():
        layer.running_mean.add_(1)
        layer(X)


def replace_by_inference_tensor(layer):
    with torch.inference_mode():
        layer.running_var = layer.running_var * 2


CHANGES = {
    "in place": lambda layer: layer.running_mean.add_(1),
    "count": lambda layer: layer.count.fill_(2),
    "replaced": lambda layer: setattr(layer, "running_var", layer.running_var * 3),
    "data in place": lambda layer: layer.running_var.data.mul_(3),
    "data replaced": lambda layer: setattr(layer.running_mean, "data", torch.full((4,), 2.0)),
    "numpy": through_numpy,
    "load_state_dict": load_other,
    "assigned state": lambda layer: layer.load_state_dict(
        {name: value.clone() + 1 for name, value in layer.state_dict().items()}, assign=True
    ),
    "training": train_once,
    "reset": lambda layer: layer.reset_running_stats(),
    "estimator": lambda layer: setattr(layer, "estimator", "ridge:3"),
    "in inference mode": in_inference_mode,
    "an inference tensor": replace_by_inference_tensor,
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(change):
    layer = evaluated_layer()
    before = layer(X)
    CHANGES[change](layer)
    assert not torch.equal(layer(X), before)
    assert torch.equal(layer(X), fresh_output(layer))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_change_of_type_is_noticed(dtype):
    layer = evaluated_layer().to(dtype)
    expected = SteinBatchNorm2d(4, dtype=dtype)
    expected.load_state_dict(layer.state_dict())
    assert torch.equal(layer(X.to(dtype)), expected.eval()(X.to(dtype)))


def test_a_change_to_a_wider_type_of_the_same_values_is_noticed():
    layer = evaluated_layer()
    layer.running_mean, layer.running_var = layer.running_mean.double(), layer.running_var.double()
    assert layer(X.double()).dtype == torch.float64


def test_a_move_to_another_device_is_noticed():
    layer = evaluated_layer()
    for name, buffer in layer.named_buffers():
        setattr(layer, name, buffer.to("meta"))
    layer.weight, layer.bias = (torch.nn.Parameter(p.to("meta")) for p in (layer.weight, layer.bias))
    assert layer(X.to("meta")).is_meta


def test_nothing_is_derived_twice_without_a_change(monkeypatch):
    layer = evaluated_layer()
    monkeypatch.setattr(SteinBatchNorm2d, "running_moments", lambda self: pytest.fail("derived again"))
    layer(X)
    layer(X.clone())


def test_what_inference_mode_derived_serves_gradients_later():
    layer = SteinBatchNorm2d(4).eval()
    with torch.inference_mode():
        layer(X)
    x = X.clone().requires_grad_()
    layer(x).sum().backward()
    assert x.grad.isfinite().all()


def test_without_value_comparison_version_and_memory_tell():
    """The rule for CUDA, tried on tensors that say they are not on the CPU."""

    class Elsewhere(torch.Tensor):
        is_cpu = False

    def sources():
        return tuple(torch.ones(3).as_subclass(Elsewhere) for _ in range(3))

    watched = sources()
    kept = derived.remember("key", watched, torch.ones(3), torch.ones(3))
    assert kept.sources is not None
    assert kept.still_right("key", watched)
    assert not kept.still_right("other", watched)
    assert not kept.still_right("key", sources())
    watched[1].add_(1)
    assert not kept.still_right("key", watched)
    kept = derived.remember("key", watched, torch.ones(3), torch.ones(3))
    watched[0].data = torch.ones(3).as_subclass(Elsewhere)
    assert not kept.still_right("key", watched)


class Passing(TorchDispatchMode):
    """Intercepts operations, and passes them on."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def test_code_whose_operations_are_intercepted_or_transformed_is_no_plain_code():
    x = torch.zeros(2, 4, 2)
    assert runs_plainly(x, None)
    with Passing():
        assert not runs_plainly(x)
    assert runs_plainly(x)
    seen = []
    torch.func.vmap(lambda one: seen.append(is_watched()) or one)(x)
    assert seen == [True]
