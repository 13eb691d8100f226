"""Local Lipschitz constants: power iteration, reduction and closed form against the full Jacobian."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stein_bench.normalization.estimators import estimator
from stein_bench.normalization.functional import batch_moments
from stein_bench.normalization.layers import SteinBatchNorm2d
from stein_bench.theory import jacobian
from stein_bench.theory.constants import LipschitzStudy
from stein_bench.theory.jacobian import normalization_map, plain_norm, reduced_norm, spectral_norm
from stein_bench.theory.lipschitz import layer_constants, random_layers
from stein_bench.theory.settings import LipschitzSettings

ESTIMATORS = ("sample", "stein", "stein-mean", "jsnorm", "james-stein", "ridge:0.3", "lasso:0.3")


def batch(channels: int, elements: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a batch (elements, C, 1, 1) with means and variances of its own per channel, and γ of both signs."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(elements, channels, 1, 1, generator=generator, dtype=torch.float64)
    scale = torch.rand(channels, 1, 1, generator=generator, dtype=torch.float64) + 0.3
    shift = torch.randn(channels, 1, 1, generator=generator, dtype=torch.float64)
    return draws * scale + shift, torch.randn(channels, generator=generator, dtype=torch.float64)


def brute_force(x: Tensor, weight: Tensor | None, name: str, eps: float) -> float:
    """Return the largest singular value of the whole Jacobian, of the layer as networks use it."""
    layer = SteinBatchNorm2d(x.shape[1], eps=eps, estimator=name, stats="batch", affine=weight is not None).double()
    if weight is not None:
        layer.weight.data = weight
    full = torch.autograd.functional.jacobian(layer.eval(), x).reshape(x.numel(), x.numel())
    return float(torch.linalg.matrix_norm(full, 2))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(("channels", "elements"), [(1, 5), (3, 2), (4, 3), (6, 12)])
def test_power_iteration_and_reduction_find_the_norm_of_the_full_jacobian(
    name: str, channels: int, elements: int
) -> None:
    x, weight = batch(channels, elements)
    expected = brute_force(x, weight, name, 1e-3)
    function = estimator(name)
    assert reduced_norm(x, weight, function, 1e-3) == pytest.approx(expected, rel=1e-9)
    starts = [
        spectral_norm(normalization_map(weight, function, 1e-3), x, torch.Generator().manual_seed(seed), most=2000)
        for seed in range(3)
    ]
    assert max(start.norm for start in starts) == pytest.approx(expected, rel=1e-3)
    assert all(start.norm <= expected * (1 + 1e-9) for start in starts)  # each is a lower bound


@pytest.mark.parametrize("elements", [1, 2, 3, 10])
def test_plain_bn_in_closed_form(elements: int) -> None:
    x, weight = batch(5, elements)
    variance = batch_moments(x)[1]
    expected = brute_force(x, weight, "sample", 0.01)
    assert plain_norm(variance, weight, 0.01, elements) == pytest.approx(expected, abs=1e-9)
    assert reduced_norm(x, weight, estimator("sample"), 0.01) == pytest.approx(expected, abs=1e-9)
    if elements > 2:
        assert expected == pytest.approx(float((weight.abs() / (variance + 0.01).sqrt()).max()))


def test_one_element_per_channel_leaves_what_the_shrunk_mean_does_not_take() -> None:
    x, weight = batch(4, 1)
    assert reduced_norm(x, weight, estimator("stein"), 0.1) == pytest.approx(brute_force(x, weight, "stein", 0.1))


def test_a_dead_channel_gives_a_finite_constant() -> None:
    x, _ = batch(4, 6)
    x[:, 1] = 2.0
    for name in ESTIMATORS:
        reduced = reduced_norm(x, None, estimator(name), 1e-5)
        assert reduced == pytest.approx(brute_force(x, None, name, 1e-5), rel=1e-6)


def test_a_linear_map_has_its_own_norm() -> None:
    matrix = torch.diag(torch.tensor([3.0, 1.0, 0.5])).double()
    found = spectral_norm(lambda x: x @ matrix, torch.zeros(2, 3).double(), torch.Generator().manual_seed(0))
    assert found.norm == pytest.approx(3, rel=1e-6)
    assert found.converged
    assert found.residual <= jacobian.TOLERANCE


def test_without_convergence_the_result_says_so() -> None:
    x, weight = batch(6, 12)
    found = spectral_norm(
        normalization_map(weight, estimator("stein"), 1e-3), x, torch.Generator().manual_seed(0), most=1
    )
    assert not found.converged
    assert found.iterations == 1
    assert found.residual > jacobian.TOLERANCE


def test_shrinking_means_away_from_zero_makes_the_constant_larger() -> None:
    """What `stein` does not subtract of the mean is multiplied by how the variance moves: the claim fails there."""
    settings = LipschitzSettings(bn=("stein",), channels=(32,), elements=(64,), spreads=(0.0, 2.0))
    study = LipschitzStudy(settings, None, tuple(random_layers(settings)))
    near, far = study.ratios("stein")
    assert near < 0.9
    assert far > 2
    slopes = [layer.constants[1].slope / layer.constants[0].slope for layer in study.layers]
    assert slopes[0] == pytest.approx(slopes[1])
    assert slopes[0] < 0.9  # the variances alone would always make it smaller
    assert study.smaller_slopes("stein") == 2
    assert "stein's in 1" in study.conclusion()
    assert study.agreement() == (4, 4)


def test_the_same_seed_gives_the_same_constants_and_more_starts_begin_with_the_same() -> None:
    x, weight = batch(3, 8)
    settings = LipschitzSettings(bn=("stein",), starts=1)
    (first,), (again,), (more,) = (
        layer_constants(x, weight, 1e-5, s, "a")[1:] for s in (settings, settings, replace(settings, starts=2))
    )
    assert first == again
    assert more.starts[0] == first.starts[0]
    assert more.starts[1] != first.starts[0]
    assert more.norm >= first.norm


def test_unused_estimators_and_plain_bn_alone() -> None:
    assert LipschitzSettings(bn=("stein", "sample")).bn == ("sample", "stein")
    settings = LipschitzSettings(bn=("sample",), channels=(2,), elements=(4,), spreads=(0.0,))
    study = LipschitzStudy(settings, None, tuple(random_layers(settings)))
    assert "Only plain BN" in study.conclusion()
    assert study.layers[0].constants[0].closed_form == pytest.approx(study.layers[0].constants[0].norm, rel=1e-4)
