"""Corruptions: each has the law it is named after, belongs to its sample, and is no attack."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from stein_bench.attacks.attack import resolve_attack, resolve_attacks
from stein_bench.attacks.catalog import NOISE
from stein_bench.attacks.noise import NOISES, corrupt
from stein_bench.errors import UsageError

GREY = torch.full((1, 3, 200, 200), 0.5)


def noise_of(name: str, std: float = 0.02, number: int = 0) -> np.ndarray:
    """What is added to mid-grey; 0.02 is so little that nothing is clipped (but the Cauchy's tails)."""
    return (corrupt(name, {"std": std}, GREY, [3], number) - GREY).flatten().double().numpy()


def test_every_corruption_of_the_catalog_has_a_function_and_the_other_way_round() -> None:
    assert [info.name for info in NOISE] == list(NOISES)
    assert all(info.is_corruption and info.access == "none" for info in NOISE)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("noise-gaussian", stats.norm(0, 0.02)),
        ("noise-uniform", stats.uniform(-0.02 * math.sqrt(3), 0.04 * math.sqrt(3))),
        ("noise-truncated-gaussian", stats.truncnorm(-2, 2, 0, 0.02 / stats.truncnorm(-2, 2).std())),
        ("noise-clipped-cauchy", stats.cauchy(0, 0.02 / math.sqrt(2))),
    ],
)
def test_noise_follows_its_law(name: str, law: stats.rv_continuous) -> None:
    """A Kolmogorov-Smirnov distance at 120,000 draws; of another scale by 2 % it would be larger."""
    added = noise_of(name)
    inside = added[np.abs(added) < 0.5 - 1e-6]
    distance = stats.kstest(added, law.cdf).statistic if name != "noise-clipped-cauchy" else None
    if distance is None:
        low, high = law.cdf(-0.5), law.cdf(0.5)
        distance = stats.kstest(inside, lambda x: (law.cdf(x) - low) / (high - low)).statistic
        assert len(inside) / len(added) == pytest.approx(high - low, abs=0.002)
    else:
        assert added.std() == pytest.approx(0.02, rel=0.01)
    assert distance < 0.005


def test_rademacher_is_plus_or_minus_std() -> None:
    added = noise_of("noise-rademacher")
    assert np.allclose(np.abs(added), 0.02, atol=1e-6)
    assert abs(added.mean()) < 0.0002


def test_salt_and_pepper_hits_whole_pixels() -> None:
    corrupted = corrupt("noise-salt-and-pepper", {"amount": 0.1}, GREY, [3], 0)[0]
    changed = corrupted != 0.5
    assert (changed.all(dim=0) == changed.any(dim=0)).all()
    assert changed[0].float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert (corrupted == 1).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (corrupted == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("name", list(NOISES))
def test_a_draw_belongs_to_its_sample_and_its_number_and_stays_in_the_box(name: str) -> None:
    inputs = torch.rand(4, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    params = {"amount": 0.3} if name.endswith("pepper") else {"std": 0.3}
    whole = corrupt(name, params, inputs, [1, 2, 3, 4], 0)
    assert torch.equal(corrupt(name, params, inputs[2:], [3, 4], 0), whole[2:])
    assert not torch.equal(corrupt(name, params, inputs, [1, 2, 3, 4], 1), whole)
    assert 0 <= whole.min() <= whole.max() <= 1
    same = corrupt(name, params, inputs[:1].expand(2, -1, -1, -1), [1, 2], 0)
    assert not torch.equal(same[0], same[1])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("noise-gaussian:std=0", "std of noise-gaussian must be above 0"),
        ("noise-salt-and-pepper:amount=2", "at most 1"),
        ("noise-salt-and-pepper:std=0.1", "unknown parameter of noise-salt-and-pepper: 'std'"),
        ("noise-uniform:eps=8/255", "unknown parameter of noise-uniform: 'eps'"),
        ("noise-uniform:seeds=0", "seeds of attack noise-uniform must be at least 1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_attack(spec)


def test_budgets_of_a_curve_do_not_repeat_corruptions() -> None:
    attacks = resolve_attacks(["fgsm", "noise-gaussian"], [1 / 255, 2 / 255])
    assert [attack.info.name for attack in attacks] == ["fgsm", "fgsm", "noise-gaussian"]
