"""The simulated risks: closed forms met, exact shortcuts equal to elements drawn one by one, verdicts that hold."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from scipy import integrate, stats

from stein_bench.attacks.noise import NOISES
from stein_bench.theory import risk as risk_module
from stein_bench.theory.intervals import RatioEstimate, estimate_known_ratio, estimate_ratio, student_quantile
from stein_bench.theory.population import true_variances
from stein_bench.theory.risk import Cell, simulate_risk
from stein_bench.theory.sampling import Batches, draw_moments
from stein_bench.theory.settings import Population, RiskSettings
from stein_bench.theory.study import RiskStudy, agrees


def simulate(**settings: object) -> list[Cell]:
    return simulate_risk(RiskSettings(**{"draws": 4000, "contaminations": ("none",), **settings}))  # type: ignore[arg-type]


def ratio(cell: Cell, estimator: str, target: str) -> RatioEstimate:
    return next(item.ratio for item in cell.comparisons if (item.estimator, item.target) == (estimator, target))


@pytest.mark.integration
def test_every_known_risk_is_met() -> None:
    """Sample mean and variance under all contaminations; gamma estimators with M and M/2; plain James-Stein."""
    settings = RiskSettings(
        (5, 16), (2, 30), (0.0, 0.3, 5.0), estimators=("stein", "stein-theorem", "james-stein", "unbiased"),
        variance_spread=0.0, draws=3000,
    )  # fmt: skip
    study = RiskStudy(settings, tuple(simulate_risk(settings)))
    agreeing, known = study.closed_forms()
    assert agreeing == known == 2 * 2 * 3 * (5 * 2 + 5)


def test_known_risks_are_met_with_unequal_variances_too() -> None:
    cells = simulate(channels=(8,), elements=(6,), spreads=(1.0,), estimators=("stein",), variance_spread=1.0)
    (cell,) = cells
    assert all(map(agrees, cell.sample.values()))
    variance = next(item.risk for item in cell.comparisons if item.target == "variance")
    assert agrees(variance)


@pytest.mark.parametrize(("channels", "elements"), [(3, 4), (10, 50)])
def test_positive_part_james_stein_at_zero_mean(channels: int, elements: int) -> None:
    """At zero mean the risk is known: over a χ² of C degrees of freedom, and over the estimate of the noise."""
    freedom = channels * (elements - 1)

    def given_noise(share: float) -> float:
        bound = (channels - 2) * share
        tails = [stats.chi2.sf(bound, channels + shift) for shift in (2, 0, -2)]
        return channels * tails[0] - 2 * bound * tails[1] + bound**2 * tails[2] / (channels - 2)

    def integrand(x: float) -> float:
        return given_noise(x / (channels * elements)) * stats.chi2.pdf(x, freedom)

    expected = integrate.quad(integrand, 0, freedom + 40 * math.sqrt(freedom))[0]
    (cell,) = simulate(channels=(channels,), elements=(elements,), spreads=(0.0,), estimators=("james-stein",))
    low, high = ratio(cell, "james-stein", "mean").interval(1e-5)
    assert low < expected / channels < high
    assert high - low < 0.15


def test_james_stein_gains_nothing_far_from_zero_and_stein_loses_everything() -> None:
    """`stein` shrinks means that average out to nothing, so that its risk is their energy: C·spread²."""
    near, far = simulate(channels=(20,), elements=(50,), spreads=(0.0, 10.0), estimators=("stein", "james-stein"))
    assert ratio(near, "stein", "mean").verdict(1e-5) == "dominates"
    assert ratio(far, "stein", "mean").verdict(1e-5) == "does not"
    assert ratio(far, "stein", "mean").ratio == pytest.approx(50 * 100 * (18 / 21) ** 2, rel=0.01)
    assert ratio(far, "james-stein", "mean").interval(0.05) == pytest.approx((1, 1), abs=1e-3)


def test_stein_keeps_means_that_have_an_offset_in_common() -> None:
    settings = {"channels": (20,), "elements": (50,), "spreads": (0.0,), "estimators": ("stein",)}
    (far,) = simulate(**settings, offset=10.0)
    assert ratio(far, "stein", "mean").ratio == pytest.approx(1, abs=1e-2)


CONTAMINATED = ("gaussian", "uniform", "rademacher", "truncated-gaussian")


@pytest.mark.parametrize("kind", CONTAMINATED)
@pytest.mark.parametrize("elements", [2, 7])
def test_moments_are_distributed_as_those_of_elements_drawn_one_by_one(kind: str, elements: int) -> None:
    variances = true_variances(4, Population(variance_spread=0.8))
    batches = Batches(variances, elements, kind, 0.9, (Population(1.0),), 4000, 3)
    ((means, scatters),) = draw_moments(batches)
    generator = torch.Generator().manual_seed(4)
    clean = torch.randn(4000, 4, elements, generator=generator) * variances.sqrt().float().unsqueeze(1)
    noise = NOISES[f"noise-{kind}"](torch.zeros_like(clean), 0.9, generator)
    variance, mean = torch.var_mean((clean + noise).double(), dim=2, correction=0)
    centers = means.mean(0)
    for channel in range(4):
        assert stats.ks_2samp(means[:, channel] - centers[channel], mean[:, channel]).pvalue > 1e-4
        assert stats.ks_2samp(scatters[:, channel], variance[:, channel]).pvalue > 1e-4
        product = (means[:, channel] - centers[channel]).square() * scatters[:, channel]  # dependence of the two
        assert stats.ks_2samp(product, mean[:, channel].square() * variance[:, channel]).pvalue > 1e-4


def test_clipped_noise_stays_in_the_range_of_the_clean_elements() -> None:
    batches = Batches(torch.ones(3).double(), 4, "clipped-cauchy", 1e9, (Population(0.0), Population(1e3)), 500, 0)
    narrow, wide = draw_moments(batches)
    assert narrow[0].abs().max() < 6
    assert 900 < wide[0].abs().max() < 1300  # noise so strong leaves nothing but the two ends of the range
    assert float(wide[1].max()) == pytest.approx(1225**2, rel=0.02)


@pytest.mark.integration
def test_the_same_seed_gives_the_same_result_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "channels": (3, 8), "elements": (4, 9), "contaminations": ("none", "uniform", "clipped-cauchy"), "draws": 300
    }  # fmt: skip
    first = simulate(**settings)
    monkeypatch.setattr(risk_module, "_MOST_WORKERS", 1)
    assert simulate(**settings) == first
    assert simulate(**settings, seed=1) != first
    assert len(first) == 3 * 2 * 2 * 4
    alone = simulate(**{**settings, "channels": (8,), "elements": (9,), "contaminations": ("uniform",)})
    assert alone == [cell for cell in first if (cell.contamination, cell.channels, cell.elements) == ("uniform", 8, 9)]


def test_a_block_depends_on_nothing_but_its_number() -> None:
    """More draws begin with those that fewer have."""
    few, many = (
        draw_moments(Batches(torch.ones(300).double(), 40, "uniform", 1.0, (Population(),), n, 0))[0][0]
        for n in (174, 200)  # whole blocks of 87
    )
    assert torch.equal(many[:174], few)


def test_an_error_in_one_setting_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(risk_module, "draw_moments", fail)
    before, running = torch.get_num_threads(), set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        simulate()
    assert torch.get_num_threads() == before
    left = set(threading.enumerate()) - running  # torch.compile keeps threads of its own
    assert not [thread for thread in left if thread.name.startswith("ThreadPool")]


@pytest.mark.integration
def test_intervals_cover_the_known_ratio_as_often_as_they_say() -> None:
    """Two elements in each of three channels: the most skewed losses there are."""
    misses = [0, 0]
    for seed in range(200):
        (cell,) = simulate(
            channels=(3,), elements=(2,), spreads=(0.0,), estimators=("stein",), draws=1000, seed=seed
        )  # fmt: skip
        known = cell.comparisons[1].risk.closed_form / cell.sample["variance"].closed_form
        low, high = ratio(cell, "stein", "variance").interval(0.05)
        misses[0] += low > known
        misses[1] += high < known
    assert max(misses) <= 14  # 2.5 % of 200 are 5
    assert sum(misses) >= 2


@pytest.mark.parametrize("skewness", [-3.0, 3.0])
def test_the_interval_ends_where_halls_transformation_is_students_quantile(skewness: float) -> None:
    estimate = RatioEstimate(2.0, 0.1, skewness, 400, False)
    quantile = student_quantile(0.975, 399)
    k = skewness / (3 * 20)
    for end, expected in zip(estimate.interval(0.05), (quantile, -quantile), strict=True):
        studentized = (2.0 - end) / 0.1
        cubic = studentized + k * studentized**2 + k**2 * studentized**3 / 3
        assert cubic + k / 2 == pytest.approx(expected)
    low, high = estimate.interval(0.05)
    assert (high - 2 > 2 - low) is (skewness > 0)  # chance errs to the low side where losses have a long upper tail


def test_control_variates_remove_what_chance_made_of_them() -> None:
    generator = torch.Generator().manual_seed(0)
    chance = torch.randn(400, 1, generator=generator).double()
    reference = torch.ones(400).double() + 0.01 * torch.randn(400, generator=generator)
    losses = reference * 0.9 + 0.3 * chance[:, 0]
    controls = torch.cat([chance, reference.unsqueeze(1) - 1], 1)
    plain, controlled = estimate_ratio(losses, reference), estimate_known_ratio(losses, reference, 1.0, controls)
    assert controlled.error < plain.error / 10
    assert controlled.ratio == pytest.approx(0.9, abs=1e-3)


def test_a_ratio_without_an_interval_is_exact() -> None:
    """A multiple of the variance has a loss that is a combination of what is known: nothing is left to chance."""
    (cell,) = simulate(channels=(3,), elements=(4,), spreads=(0.0,), estimators=("james-stein",), draws=50)
    found = ratio(cell, "james-stein", "variance")
    assert found.ratio == pytest.approx(2 * 4**2 / (5 * 7), rel=1e-12)
    assert found.error < 1e-12


def test_verdicts() -> None:
    clear = RatioEstimate(0.9, 0.01, 0.0, 1000, False)
    assert [clear.verdict(0.05), RatioEstimate(1.1, 0.01, 0.0, 1000, False).verdict(0.05)] == ["dominates", "does not"]
    assert RatioEstimate(0.98, 0.01, 0.0, 1000, False).verdict(0.01) == "undecided"
    assert RatioEstimate(1.0, 0.0, 0.0, 1000, True).verdict(0.05) == "same"


@pytest.mark.parametrize(("chance", "freedom"), [(0.975, 39), (0.999995, 39), (0.999995, 1953), (0.025, 99)])
def test_students_quantile(chance: float, freedom: int) -> None:
    assert student_quantile(chance, freedom) == pytest.approx(stats.t.ppf(chance, freedom), rel=0.01)


@pytest.mark.slow
def test_the_whole_grid_says_what_the_documentation_says() -> None:
    """Published figures of docs/results.md: where `stein`'s mean is better, and that the theorem on means holds."""
    settings = RiskSettings()
    study = RiskStudy(settings, tuple(simulate_risk(settings)))
    assert len(study.cells) == 384
    assert study.closed_forms() == (896, 896)
    unclipped = [cell for cell in study.cells if cell.contamination != "clipped-cauchy"]
    assert study.tally("stein-theorem", "mean", unclipped).verdicts["does not"] == 0
    assert study.tally("james-stein", "mean", unclipped).verdicts["does not"] == 0
    assert study.tally("james-stein", "variance").verdicts["dominates"] == 384
    clean = [cell for cell in study.cells if cell.contamination == "none"]
    assert study.tally("stein", "variance", clean).verdicts["dominates"] == 64
    noisy = [cell for cell in unclipped if cell.contamination != "none"]
    assert study.tally("stein", "variance", noisy).verdicts["does not"] == 4 * 48
    for cell in unclipped:
        if cell.channels > 3:
            noise = 1 + (settings.strength**2 if cell.contamination != "none" else 0)
            better = cell.elements * cell.spread**2 < noise
            found = study.tally("stein", "mean", [cell]).verdicts
            assert found["dominates" if better else "does not"] == 1
