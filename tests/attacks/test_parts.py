"""What the stronger attacks are made of: losses, checkpoints, projections onto planes, windows and bumps."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stein_bench.attacks import ensembles
from stein_bench.attacks.apgd import APGD, checkpoints
from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.fab import FAB, onto_plane
from stein_bench.attacks.geometry import length, random_start
from stein_bench.attacks.losses import dlr, loss_gradient, margin, ranked_targets, targeted_dlr, targeted_margin
from stein_bench.attacks.square import Square, bump, window_side
from stein_bench.errors import UsageError
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.tasks import Classification
from tests.attacks.known import LinearClasses, problem, right, run, searched, seeds_of

TASK = Classification()
LOGITS = torch.tensor([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]])
LABELS, TARGETS = torch.tensor([0, 1]), torch.tensor([1, 3])


def test_losses_are_the_papers_by_hand() -> None:
    assert dlr(LOGITS, LABELS, LABELS).tolist() == pytest.approx([-(4 - 3) / (4 - 1), (4 - 1) / (4 - 1)])
    assert targeted_dlr(LOGITS, LABELS, TARGETS).tolist() == pytest.approx([-(4 - 1) / 3.5, -(1 - 0) / 3.5])
    assert targeted_margin(LOGITS, LABELS, TARGETS).tolist() == [-3, -1]
    assert margin(LOGITS, LABELS).tolist() == [1, -3]
    assert ranked_targets(LOGITS, LABELS, 2).tolist() == [[2, 1], [0, 2]]
    assert ranked_targets(LOGITS, LABELS, 9).shape == (2, 3)


@pytest.mark.parametrize("loss", [dlr, targeted_dlr])
def test_the_ratios_ignore_shift_and_scale_and_stay_finite_where_logits_tie(loss) -> None:
    assert torch.allclose(loss(7 * LOGITS - 3, LABELS, TARGETS), loss(LOGITS, LABELS, TARGETS), atol=1e-6)
    assert loss(torch.ones(2, 4), LABELS, TARGETS).tolist() == [0, 0]


def test_a_loss_without_backward_is_the_same_loss() -> None:
    model = LinearClasses(4, 12)
    inputs, labels = problem(model, (12,), 5)
    _, logits, losses = loss_gradient(model, inputs, labels, labels, dlr)
    gradient, same, equal = loss_gradient(model, inputs, labels, labels, dlr, backward=False)
    assert torch.equal(logits, same)
    assert torch.equal(losses, equal)
    assert not gradient.any()


def test_checkpoints_are_the_papers() -> None:
    """By hand: periods of 22, then 19, 16, 13, 10, 7 and from there on 6 per cent."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]
    assert all(0 < mark <= 7 for mark in checkpoints(7))


class Ridge(nn.Module):
    """Class 0 wins everywhere; its lead is least at a point within the ball, which large steps jump over."""

    def forward(self, x: Tensor) -> Tensor:
        away = (x.flatten(1) - 0.53).abs().sum(dim=1)
        return torch.stack([away + 0.01, torch.zeros_like(away)], dim=1)


def test_apgd_halves_its_step_until_it_stands_on_the_optimum() -> None:
    inputs, labels = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.long)
    starts = random_start(inputs.shape, seeds_of(3), "Linf", 0.1)
    losses = []
    for steps in (5, 100):
        search = APGD(TASK, lambda z, y, _: TASK.loss(z, y), "Linf", 0.1, steps, start=lambda *_: starts)
        adv = searched(search, Ridge(), inputs, labels)
        losses.append((adv - 0.53).abs().max())
    assert losses[1] < 0.002 < losses[0]


def test_apgd_returns_its_best_point_not_its_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of 2·eps jumps over the crest to where the lead is larger: the start was better."""
    # At a checkpoint the search would go back to its best point anyway.
    monkeypatch.setattr(sys.modules["stein_bench.attacks.apgd"], "checkpoints", lambda steps: [])

    class Hill(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            # The lead falls towards 0.52 from the left; beyond it, it rises steeply.
            shift = x.flatten(1)[:, 0] - 0.52
            return torch.stack([torch.where(shift < 0, 1 - shift, 1 + 50 * shift), torch.zeros_like(shift)], dim=1)

    inputs, labels = torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, dtype=torch.long)
    start = torch.full_like(inputs, 0.019)
    search = APGD(TASK, targeted_margin, "Linf", 0.1, 1, start=lambda *_: start, targeted=True)
    adv = searched(search, Hill(), inputs, labels, targets=labels + 1)
    assert adv.item() == pytest.approx(0.519, abs=1e-6)


def test_apgd_costs_a_pass_per_step_and_one_more_forward() -> None:
    counting = CountingModel(Ridge())
    inputs, labels = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.long)
    run("apgd-ce:steps=7,eps=0.1", counting, inputs, labels)
    assert counting.forward_passes - 1 == 3 * 8  # one sample was asked for its number of classes
    assert counting.backward_passes == 3 * 7


@settings(max_examples=60, deadline=None)
@given(norm=st.sampled_from(["Linf", "L2"]), seed=st.integers(0, 10_000), scale=st.floats(0.01, 3))
def test_the_move_onto_a_plane_is_the_shortest_within_the_box(norm: str, seed: int, scale: float) -> None:
    """Against bisection over λ in float64, which knows nothing of breakpoints."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(6, 2, 3, generator=generator)
    points[0] = (points[0] > 0.5).float()
    slope = torch.randn(6, 2, 3, generator=generator)
    slope[1, 0] = 0
    gap = scale * torch.randn(6, generator=generator)
    move = onto_plane(points, slope, gap, norm)
    assert ((points + move >= -1e-6) & (points + move <= 1 + 1e-6)).all()

    sign = -gap.sign().view(-1, 1, 1) * slope.sign()
    room = torch.where(sign > 0, 1 - points, points).double()
    speed = (torch.ones_like(slope) if norm == "Linf" else slope.abs()).double()
    low, high = torch.zeros(6, dtype=torch.float64), torch.full((6,), 1e6, dtype=torch.float64)

    def reach(scale: Tensor) -> Tensor:
        return (slope.abs().double() * torch.minimum(scale.view(-1, 1, 1) * speed, room)).sum(dim=(1, 2))

    for _ in range(100):
        middle = (low + high) / 2
        enough = reach(middle) >= gap.abs()
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    expected = sign * torch.minimum(high.view(-1, 1, 1) * speed, room)
    assert torch.allclose(move.double(), expected, atol=2e-5)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_fab_finds_the_distance_to_a_linear_boundary(norm: str) -> None:
    """It succeeds at a budget just above the exact distance and gives the clean input back just below it."""
    model = LinearClasses(2, 30)
    inputs, labels = problem(model, (30,), 40)
    weight = model.weight[0] - model.weight[1]
    gap = (inputs @ weight).abs().detach()
    distance = gap / (weight.abs().sum() if norm == "Linf" else weight.norm()).detach()
    for factor, expected in ((1.1, False), (0.98, True)):
        for i in range(0, 40, 8):
            part = slice(i, i + 1)
            search = FAB(TASK, norm, factor * float(distance[i]), steps=10)
            adv = searched(search, model, inputs[part], labels[part], targets=1 - labels[part])
            assert right(model, adv, labels[part]).item() is expected
            if expected:
                assert torch.equal(adv, inputs[part])


def test_window_sides_follow_the_schedule_of_ten_thousand_queries() -> None:
    marks = {1: 0.8, 10: 0.8, 11: 0.4, 51: 0.2, 201: 0.1, 501: 0.05, 1001: 0.025, 2001: 0.0125, 4001: 0.00625}
    for query, share in marks.items():
        assert window_side((32, 32), 0.8, query, "Linf") == max(round(math.sqrt(share * 1024)), 1)
    assert window_side((32, 32), 0.8, 4999, "L2") == 3
    assert window_side((4, 50), 0.8, 1, "Linf") == 4
    assert window_side((8, 8, 8), 0.8, 1, "Linf") == round(math.pow(0.8 * 512, 1 / 3))


@pytest.mark.parametrize(("side", "dimensions"), [(3, 2), (5, 2), (3, 3), (1, 2), (7, 1)])
def test_bumps_have_unit_length_and_two_signs(side: int, dimensions: int) -> None:
    for axis in range(dimensions):
        pattern = bump(side, dimensions, axis)
        assert pattern.shape == (side,) * dimensions
        assert pattern.norm().item() == pytest.approx(1)
        first = pattern.movedim(axis, 0)[: side // 2]
        rest = pattern.movedim(axis, 0)[side // 2 :]
        assert (first >= 0).all()
        assert (rest <= 0).all()


def test_square_in_linf_stands_on_corners_of_its_ball() -> None:
    model = LinearClasses(3, 48)
    inputs, labels = problem(model, (3, 4, 4), 10, spread=0.03)
    adv = searched(Square(TASK, "Linf", 0.001, (3, 4, 4), queries=50, share=0.8), model, inputs, labels)
    assert torch.allclose((adv - inputs).abs(), torch.tensor(0.001), atol=1e-6)


def test_square_in_l2_spends_its_whole_budget() -> None:
    model = LinearClasses(3, 300)
    inputs, labels = problem(model, (3, 10, 10), 10, spread=0.03)
    adv = searched(Square(TASK, "L2", 0.002, (3, 10, 10), queries=50, share=0.8), model, inputs, labels)
    standing = right(model, adv, labels)
    assert standing.any()
    assert torch.allclose(length(adv - inputs, "L2")[standing], torch.tensor(0.002), rtol=1e-3)


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.02), ("L2", 0.12)])
def test_square_gets_stronger_with_queries_and_never_exceeds_them(norm: str, eps: float) -> None:
    model = LinearClasses(4, 192)
    inputs, labels = problem(model, (3, 8, 8), 60)
    standing = []
    for queries in (1, 30, 600):
        counting = CountingModel(model)
        adv = run(f"square:queries={queries},eps={eps},norm={norm}", counting, inputs, labels)
        standing.append(int(right(model, adv, labels).sum()))
        assert counting.forward_passes - 1 <= queries * 60
    assert standing[0] > standing[1] > standing[2]


def test_square_climbs_towards_the_worst_case() -> None:
    """In a linear model's ball the margin can fall by eps·‖w‖₁; what is kept must add up, unlike single proposals."""
    model = LinearClasses(2, 192)
    inputs, labels = problem(model, (3, 8, 8), 20, spread=0.15)
    eps = 1e-4
    adv = searched(Square(TASK, "Linf", eps, (3, 8, 8), queries=1500, share=0.8), model, inputs, labels)
    fallen = (margin(model(inputs), labels) - margin(model(adv), labels)).detach()
    possible = eps * (model.weight[0] - model.weight[1]).abs().sum().detach()
    standing = right(model, adv, labels)
    assert standing.sum() > 15
    assert (fallen[standing] > 0.45 * possible).all()


def test_inputs_without_spatial_axes_are_searched_too() -> None:
    model = LinearClasses(3, 40)
    inputs, labels = problem(model, (40,), 30)
    for norm, eps in (("Linf", 0.02), ("L2", 0.08)):
        adv = run(f"square:queries=200,eps={eps},norm={norm}", model, inputs, labels)
        assert adv.shape == inputs.shape
        assert 0 < right(model, adv, labels).sum() < 30


@pytest.mark.parametrize("classes", [2, 3, 4, 12])
def test_autoattack_supports_any_number_of_classes(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets are min(9, K - 1); below four classes the plain difference stands in for the targeted ratio."""
    used: list[tuple[str, int]] = []
    for name in ("targeted_dlr", "targeted_margin"):
        monkeypatch.setattr(ensembles, name, _spy(getattr(ensembles, name), name, used))
    model = LinearClasses(classes, 40)
    inputs, labels = problem(model, (40,), 30)
    eps = 0.006
    adv = run(f"autoattack:steps=30,queries=5,eps={eps}", model, inputs, labels)
    assert torch.equal(right(model, adv, labels), model.robust(inputs, labels, eps, "Linf"))
    assert {name for name, _ in used} == {"targeted_dlr" if classes >= 4 else "targeted_margin"}


def _spy(real, name, used):
    def spy(logits, labels, targets):
        used.append((name, len(labels)))
        return real(logits, labels, targets)

    return spy


def test_autoattack_leaves_what_is_wrong_or_broken_already_alone() -> None:
    """Each part is called only with samples that the parts before left standing."""
    model = LinearClasses(5, 40)
    inputs, labels = problem(model, (40,), 30)
    labels[:10] = (labels[:10] + 1) % 5
    counting = CountingModel(model)
    run("autoattack:steps=20,queries=50,eps=0.5", counting, inputs, labels)
    # Everything falls to the first part within a few steps: clean passes, and no second part.
    assert counting.forward_passes < 30 * 12
    counting = CountingModel(model)
    run("autoattack:steps=20,queries=50,eps=0.5", counting, inputs[:10], labels[:10])
    assert counting.backward_passes == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("apgd-t:targets=0", "targets of attack apgd-t must be at least 1"),
        ("square:queries=0", "queries of attack square must be at least 1"),
        ("square:p=0", "p of attack square must be above 0 and at most 1"),
        ("autoattack:steps=0", "steps of attack autoattack must be at least 1"),
        ("autoattack:norm=L0", "norm of attack autoattack must be Linf, L2 or L1"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_attack(spec)
