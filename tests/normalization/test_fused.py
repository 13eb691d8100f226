"""The fast path computes what the composed one does, is the one that runs, and does so on CUDA, too."""

import copy

import pytest
import torch
from torch.nn import functional as F

from stein_bench.normalization import layers as layers_module
from stein_bench.normalization.estimators import estimator as estimator_function
from stein_bench.normalization.functional import normalize_batch
from stein_bench.normalization.fused import normalize_batch_fast
from tests.normalization.kinds import ESTIMATORS, KINDS, activations, trained_layer


def values_and_gradients(function, x, weight, bias, grad, name):
    x, weight, bias = (None if t is None else t.clone().requires_grad_() for t in (x, weight, bias))
    y, mean, variance, count = function(x, weight, bias, estimator_function(name), 1e-5)
    y.backward(grad)
    return [y.detach(), mean, variance, x.grad, *(t.grad for t in (weight, bias) if t is not None)], count


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (4, 4, 3, 2), (2, 4, 3, 2, 2), (3, 64, 5, 5), (1, 4, 1, 1)])
@pytest.mark.parametrize("affine", ["both", "weight only", "none"])
def test_both_paths_agree(name, shape, affine):
    x, grad = activations(shape, torch.float64), activations(shape, torch.float64, seed=1)
    weight = torch.randn(shape[1], dtype=torch.float64) if affine != "none" else None
    bias = torch.randn(shape[1], dtype=torch.float64) if affine == "both" else None
    if weight is not None:
        weight[1::3] = 0
    fast, fast_count = values_and_gradients(normalize_batch_fast, x, weight, bias, grad, name)
    composed, count = values_and_gradients(normalize_batch, x, weight, bias, grad, name)
    assert fast_count == count
    torch.testing.assert_close(fast, composed, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sync"])
def test_the_fast_path_is_the_one_that_runs(kind, monkeypatch):
    layer, x = trained_layer(kind)
    monkeypatch.setattr(layers_module, "normalize_batch", lambda *_: pytest.fail("the composed path ran"))
    layer(x.requires_grad_()).sum().backward()


def test_an_unused_output_and_repeated_backward():
    layer, x = trained_layer("2d")
    y = layer(x.requires_grad_())
    first = torch.autograd.grad(y.square().sum(), x, retain_graph=True)
    second = torch.autograd.grad(y.square().sum(), x)
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize("function", [normalize_batch_fast, normalize_batch])
def test_large_offsets_cost_no_more_than_in_ordinary_layers(function):
    x, grad = activations((16, 4, 5, 5)) + 1000, activations((16, 4, 5, 5), seed=2)

    def ordinary(x, weight, bias, *_):
        return F.batch_norm(x, None, None, weight, bias, training=True)

    def ours(x, weight, bias, *_):
        return function(x, weight, bias, estimator_function("sample"), 1e-5)[0]

    errors = []
    for normalization in (ordinary, ours):
        results = []
        for dtype in (torch.float32, torch.float64):
            own = x.to(dtype, copy=True).requires_grad_()
            weight, bias = torch.ones(4, dtype=dtype, requires_grad=True), torch.zeros(4, dtype=dtype)
            y = normalization(own, weight, bias)
            y.backward(grad.to(dtype))
            results.append([value.double() for value in (y, own.grad, weight.grad / 400)])
        errors.append([float((single - double).detach().abs().max()) for single, double in zip(*results, strict=True)])
    assert all(mine <= 3 * theirs + 1e-6 for theirs, mine in zip(*errors, strict=True))


@pytest.mark.parametrize("function", [normalize_batch_fast, normalize_batch])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("constant", [False, True])
def test_sums_of_half_precision_elements_are_not_rounded_to_half_precision(function, dtype, constant):
    x, grad = activations((16, 4, 9, 9), dtype), activations((16, 4, 9, 9), dtype, seed=2)
    grad = grad[:1, :1, :1, :1].expand(grad.shape) if constant else grad
    weight, bias = torch.rand(4) + 0.5, torch.randn(4)
    half, _ = values_and_gradients(function, x, weight, bias, grad, "stein")
    single, _ = values_and_gradients(function, x.float(), weight, bias, grad.float(), "stein")
    for position in (1, 2, 4, 5):  # moments, gradients of γ and β
        torch.testing.assert_close(half[position], single[position], rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("mode", ["training", "batch", "running"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_cuda_computes_what_the_cpu_does(kind, estimator, mode, dtype, channels_last):
    layer, x = trained_layer(kind, estimator)
    if channels_last and x.dim() != 4:
        pytest.skip("a memory format of four dimensions")
    layer.weight.data[1] = 0
    layer.stats = "running" if mode == "running" else "batch"
    layer.train(mode == "training").to(torch.float64 if dtype == torch.float64 else torch.float32)
    grad = activations(x.shape, dtype, seed=3)
    results = []
    for device in ("cpu", "cuda"):
        twin = copy.deepcopy(layer).to(device)
        own = x.to(device, dtype)
        own = own.contiguous(memory_format=torch.channels_last) if channels_last else own
        y = twin(own.requires_grad_())
        y.backward(grad.to(device))
        results.append([y, own.grad, twin.weight.grad, twin.bias.grad, *twin.buffers()])
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 2e-2)
    for on_cpu, on_cuda in zip(*results, strict=True):
        torch.testing.assert_close(on_cuda.cpu(), on_cpu, rtol=tolerance, atol=tolerance)
