"""Verification believes nothing: attacks that lie, leave their ball or the box, or return NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.verify import perturbation_norm, verify
from stein_bench.tasks import Classification

INPUTS = torch.full((4, 3, 2, 2), 0.5)
LABELS = torch.zeros(4, dtype=torch.long)


class Threshold(nn.Module):
    """Class 1 where the mean is above one half, else class 0."""

    def forward(self, x: Tensor) -> Tensor:
        shift = x.flatten(1).mean(dim=1) - 0.5
        return torch.stack([torch.full_like(shift, 1e-9), shift], dim=1)


def check(adv: Tensor, norm: str = "Linf", eps: float = 0.1, respects_eps: bool = True, model: nn.Module | None = None):
    return verify(
        model or Threshold(), INPUTS, adv, LABELS, Classification(), norm=norm, eps=eps, respects_eps=respects_eps
    )


def test_a_success_within_the_budget_counts() -> None:
    adv = INPUTS.clone()
    adv[1] += 0.1
    verdicts = check(adv)
    assert verdicts.broken.tolist() == [False, True, False, False]
    assert not verdicts.invalid.any()
    assert verdicts.linf == pytest.approx([0, 0.1, 0, 0], abs=1e-7)
    assert verdicts.l2[1] == pytest.approx(0.1 * np.sqrt(12), rel=1e-6)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1", "L0"])
def test_leaving_the_ball_is_invalid_and_no_success(norm: str) -> None:
    adv = INPUTS.clone()
    adv[2] += 0.2
    budget = {"Linf": 0.2, "L2": 0.2 * np.sqrt(12), "L1": 2.4, "L0": 4.0}[norm]
    inside = check(adv, norm, budget)
    outside = check(adv, norm, budget * 0.99)
    assert inside.broken.tolist() == [False, False, True, False]
    assert outside.invalid.tolist() == [False, False, True, False]
    assert not outside.broken.any()


def test_over_budget_without_a_promise_is_no_success_but_not_invalid() -> None:
    verdicts = check(INPUTS + 0.2, respects_eps=False)
    assert verdicts.over_budget.all()
    assert not verdicts.invalid.any()
    assert not verdicts.broken.any()


def test_the_slack_forgives_rounding_only() -> None:
    adv = INPUTS + 0.1
    assert not check(adv, eps=0.1 - 5e-7).invalid.any()
    assert check(adv, eps=0.1 - 1e-5).invalid.all()


@pytest.mark.parametrize("value", [-1e-4, 1 + 1e-4])
def test_leaving_the_box_is_invalid(value: float) -> None:
    adv = INPUTS.clone()
    adv[0, 0, 0, 0] = value
    assert check(adv, eps=1.0).invalid.tolist() == [True, False, False, False]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_invalid_and_do_not_reach_the_model(value: float) -> None:
    class Coupled(nn.Module):
        """Uses the batch mean, as BN under batch statistics does."""

        def forward(self, x: Tensor) -> Tensor:
            assert x.isfinite().all()
            return Threshold()(x - x.mean(dim=0, keepdim=True) + 0.5)

    adv = INPUTS.clone()
    adv[3, 0] = value
    adv[1] += 0.1
    verdicts = check(adv, model=Coupled())
    assert verdicts.invalid.tolist() == [False, False, False, True]
    assert verdicts.broken.tolist() == [False, True, False, False]
    assert np.isnan(verdicts.linf[3])


def test_outputs_that_are_not_finite_are_no_success() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = Threshold()(x)
            return torch.where(x.flatten(1)[:, :1] > 0.55, torch.full_like(logits, torch.nan), logits)

    verdicts = check(INPUTS + 0.1, model=Breaks())
    assert verdicts.invalid.all()
    assert not verdicts.broken.any()


def test_another_shape_or_type_raises() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 3, 2, 2\)"):
        check(INPUTS[:3])
    with pytest.raises(ValueError, match="float64"):
        check(INPUTS.double())


def test_l0_counts_pixels_not_channel_values() -> None:
    delta = torch.zeros(1, 3, 4, 4)
    delta[0, :, 1, 2] = 0.1
    delta[0, 0, 3, 3] = 0.1
    assert perturbation_norm(delta, "L0").item() == 2
