"""Estimates of extreme moments: finite values and gradients, and the properties that the equations have."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stein_bench.normalization.estimators import estimator as estimator_function
from stein_bench.normalization.layers import SteinBatchNorm2d
from stein_bench.normalization.pullbacks import PULLBACKS, pull_back
from tests.normalization.kinds import ESTIMATORS, activations

FEW_EXAMPLES = settings(max_examples=30, deadline=None)
CHANNELS = st.integers(1, 40)
COUNTS = st.one_of(st.integers(1, 10**7).map(float), st.just(math.inf))


def moments(channels, seed=0, mean_scale=1.0, variance_scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(channels, generator=generator, dtype=torch.float64) * mean_scale
    variance = torch.rand(channels, generator=generator, dtype=torch.float64) * variance_scale + 0.01 * variance_scale
    return mean.to(dtype), variance.to(dtype)


def numpy_estimate(name, m, s, n):
    """Return the estimates as the papers' equations state them: an independent implementation, in float64."""
    family, _, strength = name.partition(":")
    c = len(m)
    v = np.mean((m - m.mean()) ** 2)
    few = c < 3
    if family in ("stein", "stein-mean"):
        mean = m if few else (1 - (c - 2) * c / (c + 1) * v / np.sum(m**2)) * m
        if family == "stein-mean":
            return mean, s
        pull = 4 * (c - 1) * (n / (n + 1)) / ((n - 1) * c + 2)
        return mean, n / (n + 1) * s + pull * np.prod(s ** (1 / c))
    if family == "jsnorm":
        if few:
            return m, s
        return (1 - (c - 2) * v / np.sum(m**2)) * m, (1 - (c - 2) * s.var() / np.sum(s**2)) * s
    if family == "james-stein":
        mean = m if few else max(1 - (c - 2) * s.mean() / n / np.sum(m**2), 0) * m
        return mean, n / (n + 1) * s
    if family == "ridge":
        return m * n / (n + float(strength)), s / (1 + float(strength))
    if family == "lasso":
        cut = float(strength) / (2 * n)
        return np.sign(m) * np.maximum(abs(m) - cut, 0), np.maximum(s - float(strength) / 2, 0)
    return m, s


@pytest.mark.parametrize("name", ESTIMATORS)
@FEW_EXAMPLES
@given(channels=CHANNELS, count=st.integers(1, 10**6), seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3))
def test_the_equations(name, channels, count, seed, scale):
    mean, variance = moments(channels, seed, scale, scale**2, torch.float64)
    actual = estimator_function(name)(mean, variance, count)
    for ours, theirs in zip(actual, numpy_estimate(name, mean.numpy(), variance.numpy(), count), strict=True):
        torch.testing.assert_close(ours, torch.from_numpy(np.asarray(theirs)), rtol=1e-9, atol=1e-12 * scale)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_finite_values_and_gradients(name, dtype):
    largest = 6e4 if dtype == torch.float16 else 1e12
    for channels, variance_scale, count, mean_scale in itertools.product(
        (1, 2, 3, 4096), (0.0, 1e-12, 1.0, largest), (1, 2, 1000.0, math.inf), (0.0, 1e-30, math.sqrt(largest))
    ):
        mean, variance = moments(channels, 0, mean_scale, variance_scale, dtype)
        variance[::3] = 0  # dead channels
        mean.requires_grad_(), variance.requires_grad_()
        estimates = estimator_function(name)(mean, variance, count)
        assert all(value.dtype == (dtype if dtype == torch.float64 else torch.float32) for value in estimates)
        sum(value.sum() for value in estimates).backward()
        for value in (*estimates, mean.grad, variance.grad):
            assert value is None or value.isfinite().all()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 2), (3, 1, 1)])
@pytest.mark.parametrize("spread", [0.0, 1e-6, 1.0, 1e6])
def test_layers_are_finite_on_extreme_batches(name, shape, spread):
    n, height, width = shape
    for channels, offset in itertools.product((1, 2, 5, 4096), (0.0, spread * 10)):
        x = activations((n, channels, height, width)) * spread
        x[:, ::2] = 0.0  # dead channels
        x = (x + offset).requires_grad_()
        layer = SteinBatchNorm2d(channels, estimator=name)
        layer.weight.data[::3] = 0
        for training in (True, False):
            y = layer.train(training)(x)
            y.square().sum().backward()
            for value in (y, x.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()):
                assert value.isfinite().all()


@FEW_EXAMPLES
@given(family=st.sampled_from(["ridge", "lasso"]), channels=CHANNELS, count=COUNTS, seed=st.integers(0, 999))
def test_no_strength_is_sample(family, channels, count, seed):
    mean, variance = moments(channels, seed)
    shrunk = estimator_function(f"{family}:0")(mean, variance, count)
    assert torch.equal(shrunk[0], mean)
    assert torch.equal(shrunk[1], variance)


@pytest.mark.parametrize("name", ESTIMATORS)
@FEW_EXAMPLES
@given(channels=CHANNELS, count=COUNTS, seed=st.integers(0, 999))
def test_permuting_channels_permutes_the_estimates(name, channels, count, seed):
    mean, variance = moments(channels, seed, dtype=torch.float64)
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(seed))
    straight = estimator_function(name)(mean, variance, count)
    permuted = estimator_function(name)(mean[order], variance[order], count)
    for value, other in zip(straight, permuted, strict=True):
        torch.testing.assert_close(value[order], other)


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if not name.startswith("lasso")])
@FEW_EXAMPLES
@given(channels=CHANNELS, count=COUNTS, seed=st.integers(0, 999), scale=st.floats(1e-5, 1e5))
def test_scaling_the_elements_scales_the_estimates(name, channels, count, seed, scale):
    mean, variance = moments(channels, seed, dtype=torch.float64)
    plain = estimator_function(name)(mean, variance, count)
    scaled = estimator_function(name)(mean * scale, variance * scale**2, count)
    torch.testing.assert_close(scaled[0], plain[0] * scale, rtol=1e-9, atol=1e-12 * scale)
    torch.testing.assert_close(scaled[1], plain[1] * scale**2, rtol=1e-9, atol=1e-12 * scale**2)


@pytest.mark.parametrize("name", ["stein", "stein-mean"])
@FEW_EXAMPLES
@given(channels=CHANNELS, count=COUNTS, seed=st.integers(0, 999), scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]))
def test_gradients_that_are_written_out_are_the_automatic_ones(name, channels, count, seed, scale):
    mean, variance = moments(channels, seed, scale, dtype=torch.float64)
    variance[3::4] = 0
    grads = moments(channels, seed + 1, dtype=torch.float64)
    function = estimator_function(name)
    assert function in PULLBACKS
    written_out = pull_back(function, mean, variance, count, *grads)
    automatic = pull_back(lambda *arguments: function(*arguments), mean, variance, count, *grads)
    torch.testing.assert_close(written_out, automatic, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("count", [1e12, math.inf])
def test_an_unknown_count_is_the_limit_of_large_ones(name, count):
    mean, variance = moments(8, dtype=torch.float64)
    limit = estimator_function(name)(mean, variance, math.inf)
    near = estimator_function(name)(mean, variance, torch.tensor(count, dtype=torch.float64))
    torch.testing.assert_close(near, limit)
    if not name.startswith(("ridge", "lasso", "jsnorm")):
        torch.testing.assert_close(limit[1], variance)


def test_the_geometric_mean_neither_under_nor_overflows():
    for scale in (1e-12, 1e12):
        variance = torch.full((4096,), scale)
        _, shrunk = estimator_function("stein")(torch.ones(4096), variance, 2)
        pull = 4 * 4095 * (2 / 3) / (4096 + 2)
        torch.testing.assert_close(shrunk, variance * (2 / 3 + pull), rtol=1e-5, atol=0)


def test_a_dead_channel_counts_as_the_smallest_variance_in_the_geometric_mean():
    variance = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    _, shrunk = estimator_function("stein")(torch.ones(3, dtype=torch.float64), variance, 2)
    pull = 4 * 2 * (2 / 3) / (3 + 2)
    torch.testing.assert_close(shrunk[0], torch.tensor(pull * 1e-38 ** (1 / 3), dtype=torch.float64), rtol=1e-9, atol=0)
