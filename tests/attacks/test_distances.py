"""Attacks that make the perturbation small: the distances they find, and robust accuracy at every ε from one run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.geometry import length
from stein_bench.attacks.verify import verify
from stein_bench.measures.distances import distance_statistics
from tests.attacks.known import TASK, HingeClasses, LinearClasses, problem, right, run


def exact_distance(model: LinearClasses, inputs: Tensor, labels: Tensor, norm: str) -> Tensor:
    """Return how far the nearest boundary is: the smallest gap over the dual norm of the difference of slopes."""
    logits = model(inputs)
    dual = (model.weight[:, None] - model.weight[None]).norm(dim=2, p=1 if norm == "Linf" else 2)[labels]
    gaps = (logits.gather(1, labels[:, None]) - logits) / dual
    return gaps.scatter(1, labels[:, None], torch.inf).amin(dim=1)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("classes", [2, 3, 6])
def test_fab_finds_the_distance_to_the_nearest_boundary_of_a_linear_model(norm: str, classes: int) -> None:
    model = LinearClasses(classes, 30, uneven=True)
    inputs, labels = problem(model, (30,), 60)
    exact = exact_distance(model, inputs, labels, norm).detach()
    found = run(f"fab:norm={norm},steps=20,eps=1e-6", model, inputs, labels)
    away = length(found - inputs, norm)
    assert not right(model, found, labels).any()
    assert (away >= exact * (1 - 1e-4)).all()
    assert (away <= exact * 1.02).all()


def test_one_run_gives_robust_accuracy_at_every_budget() -> None:
    """The curve against the closed form, at budgets that the run was not told."""
    model = LinearClasses(4, 30)
    inputs, labels = problem(model, (30,), 200)
    found = run("fab:steps=20", model, inputs, labels)
    away = length(found - inputs, "Linf").double().numpy()
    statistics = distance_statistics(away, np.ones(200, np.bool_))
    assert statistics.found == statistics.samples == 200
    assert len(statistics.curve) == 21
    for eps, robust in statistics.curve:
        # FAB stops a little behind the boundary, so that the truth at ε lies within 2 % of it.
        low, high = (float(model.robust(inputs, labels, eps * f, "Linf").float().mean()) for f in (1 + 1e-4, 0.98))
        assert low - 1e-6 <= robust <= high + 0.005 + 1e-6


def test_fab_never_beats_the_worst_case_of_a_piecewise_linear_model() -> None:
    model = HingeClasses(3, 30)
    inputs, labels = problem(model, (30,), 100)
    found = run("fab:steps=30", model, inputs, labels)
    away, broken = length(found - inputs, "Linf"), ~right(model, found, labels)
    assert broken.float().mean() > 0.9
    for eps in (0.01, 0.03, 0.05):
        assert not (broken & (away <= eps) & model.robust(inputs, labels, eps, "Linf")).any()


def test_the_clean_input_comes_back_where_nothing_is_found() -> None:
    class Sure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[9.0, 0.0, 0.0]]) + 1e-3 * x.flatten(1)[:, :3]

    inputs = torch.rand(3, 5)
    assert torch.equal(run("fab:steps=5", Sure(), inputs, torch.zeros(3, dtype=torch.long)), inputs)


def test_distances_are_of_what_errs_and_is_valid_within_eps_or_not() -> None:
    model = LinearClasses(2, 4)
    inputs = torch.full((4, 4), 0.5) + 0.1 * model.weight[0].sign().detach()
    labels = model(inputs).argmax(dim=1)
    adv = inputs.clone()
    adv[:2] -= 0.3 * model.weight[0].sign()
    adv[1:2] *= torch.nan
    adv[2] -= 0.01 * model.weight[0].sign()
    found = verify(model, inputs, adv.detach(), labels, TASK, norm="Linf", eps=0.2, respects_eps=False)
    assert found.distance == pytest.approx([0.3, np.nan, np.nan, np.nan], nan_ok=True)
    assert not found.broken.any()


def test_the_statistics_are_those_of_samples_right_on_the_clean_input() -> None:
    distances = np.array([0.4, 0.1, 0.2, np.nan, 0.3, 0.0])
    correct = np.array([1, 1, 1, 1, 1, 0], np.bool_)
    found = distance_statistics(distances, correct)
    assert (found.found, found.samples) == (4, 5)
    assert (found.mean, found.median) == (pytest.approx(0.25), pytest.approx(0.25))
    assert found.quantiles == {"0.05": pytest.approx(0.115), "0.25": pytest.approx(0.175),
                               "0.75": pytest.approx(0.325), "0.95": pytest.approx(0.385)}  # fmt: skip
    assert found.curve == [(0, 5 / 6), (0.1, 4 / 6), (0.2, 3 / 6), (0.3, 2 / 6), (0.4, 1 / 6)]


def test_nothing_found_is_a_flat_curve() -> None:
    found = distance_statistics(np.full(3, np.nan), np.array([True, False, True]))
    assert (found.found, found.mean, found.median, found.quantiles) == (0, None, None, {})
    assert found.curve == [(0, 2 / 3)]


def test_equal_distances_fall_together() -> None:
    assert distance_statistics(np.ones(50), np.ones(50, np.bool_)).curve == [(0, 1), (1, 0)]


def test_which_attacks_tell_distances() -> None:
    library = {"CW", "DeepFool", "EADEN", "EADL1", "FAB", "SparseFool"}
    assert {name for name, info in CATALOG.items() if info.minimal} == {
        *("fab", "deepfool", "cw", "ddn", "fmn"), *(f"torchattacks.{name}" for name in library),
    }  # fmt: skip
