"""The estimators and closed forms that the simulations rest on, against independent numerics."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from stein_bench.normalization.estimators import estimator, variance_pull
from stein_bench.theory.estimators import batched_estimator, largest_pull, plain_james_stein
from stein_bench.theory.names import EXTRA_ESTIMATORS, risk_estimator, risk_estimators
from stein_bench.theory.population import (
    FOURTH_MOMENTS,
    gamma_variance_risk,
    plain_james_stein_risk,
    sample_risks,
    true_means,
    true_variances,
)
from stein_bench.theory.settings import Population


@pytest.mark.parametrize("name", [name for name in risk_estimators() if name not in EXTRA_ESTIMATORS])
def test_many_batches_at_once_give_what_each_gives_alone(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    variance = torch.rand(7, 5, generator=generator, dtype=torch.float64) + 0.1
    together = batched_estimator(risk_estimator(name))(mean, variance, 9, variance[0])
    for index in range(7):
        alone = estimator(name)(mean[index], variance[index], 9)
        torch.testing.assert_close((together[0][index], together[1][index]), alone, rtol=1e-12, atol=0)


def test_the_theorems_estimators_are_plain_james_stein_and_half_the_pull() -> None:
    mean, variance = torch.tensor([[1.0, 2.0, 2.0]]).double(), torch.tensor([[1.0, 1.0, 8.0]]).double()
    shrunk, scaled = batched_estimator("stein-theorem")(mean, variance, 3, torch.full((3,), 0.9).double())
    torch.testing.assert_close(shrunk, 0.9 * mean)  # 1 - (3-2)·0.9/9
    pull = 4 * 2 * 0.75 / (2 * 3 + 2)
    torch.testing.assert_close(scaled, 0.75 * variance + pull / 2 * 2)  # geometric mean 2
    assert torch.equal(batched_estimator("unbiased")(mean, variance, 3, mean)[1], 1.5 * variance)
    assert torch.equal(plain_james_stein(mean[:, :2], mean), mean[:, :2])


@given(st.integers(2, 600), st.integers(4, 100_000))
def test_the_published_pull_is_never_above_the_exact_limit_but_far_above_its_half(channels: int, count: int) -> None:
    proved, exact = largest_pull(channels, count)
    assert proved == float(variance_pull(channels, count)[1])
    assert 0.6 * exact < proved <= exact * (1 + 1e-6)


@pytest.mark.parametrize(("channels", "count"), [(3, 2), (16, 16), (64, 400)])
def test_at_equal_variances_the_exact_limit_is_where_the_gain_ends_and_its_half_is_best(
    channels: int, count: int
) -> None:
    variances = torch.full((channels,), 2.0, dtype=torch.float64)
    scale = float(variance_pull(channels, count)[0])
    exact = largest_pull(channels, count)[1]

    def risk(pull: float) -> float:
        return gamma_variance_risk(variances, count, scale, pull)

    assert risk(exact) == pytest.approx(risk(0), rel=1e-9)
    assert risk(exact / 2) < min(risk(0.45 * exact), risk(0.55 * exact)) < risk(0)


@pytest.mark.parametrize("count", [2, 5, 100])
def test_the_equivariant_variance_is_the_best_multiple_of_the_biased_one(count: int) -> None:
    variances = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    best = count / (count + 1)
    risks = [gamma_variance_risk(variances, count, best * factor, 0.0) for factor in (0.99, 1.0, 1.01)]
    assert risks[1] < min(risks[0], risks[2])
    unbiased = gamma_variance_risk(variances, count, count / (count - 1), 0.0)
    assert unbiased == pytest.approx(2 / (count - 1) * float(variances.square().sum()))
    biased = (2 * count - 1) / count**2 * float(variances.square().sum())
    assert gamma_variance_risk(variances, count, 1.0, 0.0) == pytest.approx(biased)
    known = sample_risks(variances, count, "none", 0.5)
    assert known == pytest.approx((float(variances.sum()) / count, biased))


@pytest.mark.parametrize("channels", [3, 8, 100])
def test_plain_james_stein_has_twice_the_noise_at_zero_and_no_gain_far_away(channels: int) -> None:
    assert plain_james_stein_risk(torch.zeros(channels), 0.3) == pytest.approx(0.6)
    far = torch.full((channels,), 1e3, dtype=torch.float64)
    assert plain_james_stein_risk(far, 0.3) == pytest.approx(0.3 * channels, rel=1e-5)
    assert plain_james_stein_risk(far, 0.3) < 0.3 * channels


def test_plain_james_stein_between_is_the_integral_over_the_noncentral_chi_square() -> None:
    means = torch.tensor([0.5, -1.0, 0.3, 0.8, 0.0], dtype=torch.float64)
    noise, energy = 0.25, float(means.square().sum())
    inverse, _ = integrate.quad(lambda x: stats.ncx2.pdf(x, 5, energy / noise) / x, 0, 200)
    assert plain_james_stein_risk(means, noise) == pytest.approx(noise * (5 - 9 * inverse), rel=1e-6)


def test_the_fourth_moments_are_those_of_the_distributions() -> None:
    truncated = stats.truncnorm(-2, 2)
    assert FOURTH_MOMENTS["truncated-gaussian"] == pytest.approx(truncated.moment(4) / truncated.var() ** 2)
    assert FOURTH_MOMENTS["uniform"] == pytest.approx(stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)).moment(4))


@pytest.mark.parametrize("channels", [1, 2, 3, 512])
def test_true_moments_have_the_spread_asked_for(channels: int) -> None:
    population = Population(spread=0.5, offset=2.0, variance_spread=0.7)
    means, variances = true_means(channels, population), true_variances(channels, population)
    assert float(means.mean()) == pytest.approx(2.0)
    assert float(means.std(correction=0)) == pytest.approx(0.5 if channels > 1 else 0)
    assert float(variances.mean()) == pytest.approx(1)
    assert float(variances.log().std(correction=0)) == pytest.approx(0.7 if channels > 1 else 0)
