"""CUDA's kernels are called with the right arguments: shown on the CPU, by models of what these kernels compute.

The models are written from the kernels' source (aten/src/ATen/native/cuda/Normalization.cuh): sums in float32 or wider,
the result in the type of the elements. Whether the real ones agree is for the tests marked `gpu` to show.
"""

import pytest
import torch

from stein_bench.normalization import kernels
from stein_bench.normalization.estimators import estimator as estimator_function
from stein_bench.normalization.estimators import widen
from stein_bench.normalization.functional import normalize_batch, per_channel
from stein_bench.normalization.fused import normalize_batch_fast
from tests.normalization.kinds import ESTIMATORS, activations


def others(x):
    return [dimension for dimension in range(x.dim()) if dimension != 1]


def statistics(x, running_mean, running_var, momentum):
    variance, mean = torch.var_mean(widen(x), others(x), correction=0)
    return mean, variance


def elemt(x, weight, bias, mean, invstd, eps):
    y = (widen(x) - per_channel(mean, x)) * per_channel(invstd, x)
    y = y if weight is None else y * per_channel(weight, x)
    return (y if bias is None else y + per_channel(bias, x)).to(x.dtype)


def backward_reduce(grad, x, mean, invstd, weight, input_g, weight_g, bias_g):
    assert grad.stride() == x.stride()
    assert mean.dtype == invstd.dtype == weight.dtype
    assert (input_g, weight_g, bias_g) == (True, False, False)
    products = widen(grad) * (widen(x) - per_channel(mean, x))
    return widen(grad).sum(others(x)), products.sum(others(x)), None, None


def backward_elemt(grad, x, mean, invstd, weight, sum_dy, sum_dy_xmu, count):
    assert grad.stride() == x.stride()
    assert count.dtype == torch.int32
    share = 1 / count.sum()
    centered = widen(x) - per_channel(mean, x)
    through_variance = centered * per_channel(invstd**2 * sum_dy_xmu * share, x)
    inner = widen(grad) - per_channel(sum_dy * share, x) - through_variance
    return (inner * per_channel(invstd * weight, x)).to(x.dtype)


@pytest.fixture
def as_on_cuda(monkeypatch):
    """Take the path of CUDA on the CPU, its kernels being the models above."""
    monkeypatch.setattr(kernels, "on_cuda", lambda x: True)
    monkeypatch.setattr(torch, "batch_norm_update_stats", statistics)
    monkeypatch.setattr(torch, "batch_norm_elemt", elemt, raising=False)
    monkeypatch.setattr(torch, "batch_norm_backward_reduce", backward_reduce, raising=False)
    monkeypatch.setattr(torch, "batch_norm_backward_elemt", backward_elemt, raising=False)


def gradients(function, x, weight, bias, grad, name):
    x, weight, bias = (t.clone(memory_format=torch.preserve_format).requires_grad_() for t in (x, weight, bias))
    y = function(x, weight, bias, estimator_function(name), 1e-5)[0]
    y.backward(grad)
    return [y.detach(), x.grad, weight.grad, bias.grad]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (4, 5, 3, 2), (2, 4, 3, 2, 2)])
def test_one_call_of_the_kernel_gives_the_whole_gradient(name, shape, as_on_cuda):
    """Channels with γ = 0 included: their elements still move the estimates of all channels."""
    x, grad = activations(shape, torch.float64), activations(shape, torch.float64, seed=1)
    weight, bias = torch.randn(shape[1], dtype=torch.float64), torch.randn(shape[1], dtype=torch.float64)
    weight[1::3] = 0
    weight[2] = -1e-40
    found = gradients(normalize_batch_fast, x, weight, bias, grad, name)
    expected = gradients(normalize_batch, x, weight, bias, grad, name)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    if name == "stein":
        assert found[1][:, 1].abs().max() > 1e-12


@pytest.mark.parametrize("slope", [1.0, -3e-3, 1e-20, 2.0**-90, -(2.0**-91), 1e-38, 0.0])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e10])
def test_the_terms_survive_division_by_any_slope_in_single_precision(slope, size):
    x, grad, mean = torch.randn(8, 1), torch.randn(8, 1), torch.tensor([0.3])
    a, b, c = torch.tensor([slope]), torch.tensor([0.7 * size]), torch.tensor([-0.2 * size])
    weight, sum_dy, sum_dy_xmu = kernels.elemt_arguments(a, b, c)
    one, count = torch.ones(1), torch.ones(1, dtype=torch.int32)
    found = backward_elemt(grad, x, mean, one, weight, sum_dy, sum_dy_xmu, count)
    exact = a.double() * grad.double() + b.double() * (x.double() - mean.double()) + c.double()
    largest = (a * grad).abs() + (b * (x - mean)).abs() + c.abs()
    assert ((found - exact).abs() <= 1e-6 * largest + 2 * kernels.SMALLEST_SLOPE * grad.abs()).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_elements_go_in_as_they_are_and_come_out_so(dtype, as_on_cuda):
    x, grad = activations((8, 5, 6, 6), dtype), activations((8, 5, 6, 6), dtype, seed=2)
    weight, bias = torch.rand(5) + 0.5, torch.randn(5)
    weight[0] = 0
    half = gradients(normalize_batch_fast, x, weight, bias, grad, "stein")
    single = gradients(normalize_batch, x.float(), weight, bias, grad.float(), "stein")
    assert [value.dtype for value in half] == [dtype, dtype, torch.float32, torch.float32]
    for found, expected, tolerance in zip(half, single, (1e-2, 1e-2, 1e-4, 1e-4), strict=True):
        torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("of_grad", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("sliced", [False, True])
def test_both_operands_reach_the_kernels_in_one_layout(layout, of_grad, sliced, as_on_cuda):
    x = activations((4, 10, 3, 3), torch.float64).contiguous(memory_format=layout)
    x = x[:, ::2] if sliced else x
    grad = activations(x.shape, torch.float64, seed=1).contiguous(memory_format=of_grad)
    weight, bias = torch.rand(x.shape[1], dtype=torch.float64), torch.rand(x.shape[1], dtype=torch.float64)
    found = gradients(normalize_batch_fast, x, weight, bias, grad, "stein")
    expected = gradients(normalize_batch, x, weight, bias, grad, "stein")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
