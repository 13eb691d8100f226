"""L1: the projection onto ball and box, sparse steps, and attacks that find the known optimum of linear models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attack, resolve_attacks
from stein_bench.attacks.catalog import NATIVE
from stein_bench.attacks.fab import FAB, onto_plane
from stein_bench.attacks.geometry import length, project, project_l1, sparse_direction, step_direction
from stein_bench.attacks.losses import targeted_margin
from stein_bench.attacks.search import Batch
from stein_bench.attacks.sparse import ONE_BALL, SparseAPGD, SparseAscent, schedule
from stein_bench.attacks.square import Square, bump
from stein_bench.attacks.starts import RandomStarts
from stein_bench.attacks.verify import perturbation_norm, verify
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.tasks import Classification
from tests.attacks.known import right, run, searched, seeds_of

TASK = Classification()
SHAPES = [(3, 6, 6), (2, 4, 4, 4), (50,)]


def farthest(slope: Tensor, center: Tensor, eps: float) -> Tensor:
    """Return the point of the L1 ball within the box at which a linear function is highest, in float64, (n, d).

    The values with the largest slope go to the edge of the box, one by one, while the budget lasts.
    """
    steep, at = slope.flatten(1).double().numpy(), center.flatten(1).double().numpy()
    found = at.copy()
    for row, (w, x) in enumerate(zip(steep, at, strict=True)):
        left = eps
        for i in np.argsort(-np.abs(w)):
            move = min(left, 1 - x[i] if w[i] > 0 else x[i])
            found[row, i] += np.sign(w[i]) * move
            left -= move
    return torch.from_numpy(found)


class Slope(nn.Module):
    """Two classes: linear, and so far from the boundary that nothing in the balls used here is misclassified."""

    def __init__(self, features: int, lead: float = 30.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.w = nn.Parameter(torch.randn(features, generator=generator))
        self.lead = lead

    def forward(self, x: Tensor) -> Tensor:
        rise = (x.flatten(1) - 0.5) @ self.w
        return torch.stack([torch.full_like(rise, self.lead), rise], dim=1)

    def reached(self, points: Tensor, center: Tensor, eps: float) -> Tensor:
        """Return the gain from center to points as a share of the largest possible one, (n,)."""
        best = farthest(self.w.detach().expand(len(center), -1), center, eps)
        possible = (best - center.flatten(1).double()) @ self.w.detach().double()
        return ((points - center).flatten(1).double() @ self.w.detach().double()) / possible


def images(shape: tuple[int, ...], n: int = 12) -> Tensor:
    inputs = torch.rand(n, *shape, generator=torch.Generator().manual_seed(5))
    inputs[0] = inputs[0].round()
    return inputs


@settings(max_examples=40, deadline=None)
@given(eps=st.floats(1e-4, 12), spread=st.floats(0.01, 3), seed=st.integers(0, 10_000))
def test_the_projection_is_the_nearest_point_of_ball_and_box(eps: float, spread: float, seed: int) -> None:
    """Projection z of p means ⟨p - z, q - z⟩ ≤ 0 for every q of the set; the worst q is known in closed form."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(5, 2, 3, 4, generator=generator)
    center[0] = center[0].round()
    points = center + spread * torch.randn(5, 2, 3, 4, generator=generator)
    points[1, 0] = points[1, 0, 0, 0]  # ties
    found = project(points, center, "L1", eps)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (perturbation_norm(found.double() - center.double(), "L1") <= eps * (1 + 1e-12)).all()
    outward = (points - found).flatten(1).double()
    worst = farthest(outward, center, eps)
    gained = (outward * (worst - found.flatten(1).double())).sum(dim=1)
    assert (gained <= 1e-5 * max(spread, eps)).all()
    inside = (found + 0.3 * (center - found)).clamp(0, 1)
    assert torch.equal(project(inside, center, "L1", eps), inside)


def test_rounding_never_spends_more_than_the_budget() -> None:
    """Thousands of small moves, which round to nearest upwards more often than not in some rows."""
    generator = torch.Generator().manual_seed(0)
    center = 0.75 + 1e-3 * torch.rand(8, 5_000, generator=generator)
    points = center + 0.01 * torch.randn(8, 5_000, generator=generator)
    budgets = torch.tensor([0.01, 0.05, 0.1, 0.3, 1.0, 3.0, 12.0, 30.0], dtype=torch.float64)
    spent = perturbation_norm(project_l1(points, center, budgets).double() - center.double(), "L1")
    assert (spent <= budgets * (1 + 1e-12)).all()
    assert (spent[2:] > 0.98 * budgets[2:]).all()


def test_a_radius_per_sample_is_that_of_the_sample() -> None:
    center = images((3, 4, 4), 6)
    points = center + torch.randn(center.shape, generator=torch.Generator().manual_seed(1))
    radii = torch.tensor([0.1, 0.5, 1.0, 2.0, 4.0, 8.0])
    together = project_l1(points, center, radii)
    alone = [project(points[i : i + 1], center[i : i + 1], "L1", float(radii[i])) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))


def test_a_sparse_direction_takes_the_largest_values_that_can_still_move() -> None:
    gradient = torch.tensor([[5.0, -4.0, 3.0, -2.0, 1.0, 0.0]])
    points = torch.tensor([[1.0, 0.5, 0.0, 0.0, 0.5, 0.5]])  # the first and the fourth cannot
    assert sparse_direction(gradient, points, 2).tolist() == [[0, -0.5, 0.5, 0, 0, 0]]
    counts = torch.tensor([0.3, 2.6])
    both = sparse_direction(gradient.expand(2, -1), points.expand(2, -1), counts)
    assert both[0].tolist() == [0, -1, 0, 0, 0, 0]
    assert both[1].tolist() == pytest.approx([0, -1 / 3, 1 / 3, 0, 1 / 3, 0])
    assert step_direction(gradient, points, "L1", 0.5).tolist() == [[0, -0.5, 0.5, 0, 0, 0]]
    assert not sparse_direction(torch.zeros(1, 6), points, 3).any()


def test_the_schedule_of_a_hundred_moves_is_that_of_three_balls() -> None:
    plan = schedule(100, (3.0, 2.0, 1.0))
    assert [plan.radii.count(radius) for radius in (3.0, 2.0, 1.0)] == [30, 30, 41]
    assert plan.first == {0, 30, 60}
    assert schedule(100, ONE_BALL).adapting == set(range(4, 101, 4))
    for moves in (1, 2, 3):
        assert schedule(moves, (3.0, 2.0, 1.0)).radii[-2:] == (1.0, 1.0)


def ascended(model: nn.Module, inputs: Tensor, eps: float, steps: int, **extra: Any) -> Tensor:
    """Return what auto-PGD finds in L1 with the logit difference, which does not saturate far from the boundary."""
    start = RandomStarts("L2", inputs[0].numel() ** 0.5)
    search = SparseAPGD(TASK, targeted_margin, eps, steps, start, targeted=True, **extra)
    labels = torch.zeros(len(inputs), dtype=torch.long)
    return searched(search, model, inputs, labels, targets=1 - labels)


@pytest.mark.parametrize(("shape", "eps"), [(SHAPES[0], 0.3), *((shape, 2.5) for shape in SHAPES)])
def test_ascent_reaches_the_worst_case_of_a_linear_model(eps: float, shape: tuple[int, ...]) -> None:
    inputs, labels = images(shape, 6), torch.zeros(6, dtype=torch.long)
    model = Slope(inputs[0].numel())
    for steps, share in ((60, 0.99), (20, 0.9)):
        adv = ascended(model, inputs, eps, steps)
        assert right(model, adv, labels).all()
        assert (model.reached(adv, inputs, eps) >= share).all()
    adv = run(f"pgd:steps=40,norm=L1,eps={eps}", model, inputs, labels)
    assert (model.reached(adv, inputs, eps) >= 0.7).all()


def test_apgd_stays_within_eps_if_it_must() -> None:
    """With one ball every point that is shown to the model lies within eps, with three the first ones do not."""
    inputs = images((3, 6, 6), 8)  # one chunk

    class Watching(Slope):
        largest = 0.0

        def forward(self, x: Tensor) -> Tensor:
            self.largest = max(self.largest, float(length(x.detach() - inputs, "L1").max()))
            return super().forward(x)

    model = Watching(inputs[0].numel())
    wide = ascended(model, inputs, 1.0, 40)
    assert model.largest == pytest.approx(3)
    model.largest = 0.0
    narrow = ascended(model, inputs, 1.0, 40, radii=ONE_BALL)
    assert model.largest == pytest.approx(1)
    for adv in (wide, narrow):
        assert (model.reached(adv, inputs, 1.0) > 0.95).all()


def test_what_is_misclassified_only_beyond_eps_is_no_success() -> None:
    inputs, labels = images((3, 6, 6)), torch.zeros(12, dtype=torch.long)
    model = Slope(inputs[0].numel())
    best = farthest(model.w.detach().expand(12, -1), inputs, 1.0)
    model.lead = float(((best - 0.5) @ model.w.detach().double()).max()) + 0.05
    wider = farthest(model.w.detach().expand(12, -1), inputs, 3.0).float().view_as(inputs)
    assert not right(model, wider, labels).all()
    for batch_dependent in (False, True):
        adv = run("apgd-ce:steps=30,norm=L1,eps=1", model, inputs, labels, batch_dependent=batch_dependent)
        assert (length(adv - inputs, "L1") <= 1 + 1e-5).all()
        assert right(model, adv, labels).all()


def test_apgd_costs_a_forward_pass_per_point_and_no_gradient_where_a_ball_begins() -> None:
    inputs, labels = images((3, 6, 6)), torch.zeros(12, dtype=torch.long)
    counting = CountingModel(Slope(inputs[0].numel()))
    run("apgd-ce:steps=20,norm=L1,eps=1", counting, inputs, labels)
    assert counting.forward_passes - 1 == 12 * (1 + 21)  # one sample was asked for its number of classes
    assert counting.backward_passes == 12 * 18


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 3))
def test_the_move_onto_a_plane_is_the_shortest_in_l1(seed: int, scale: float) -> None:
    """Against a linear program: the least sum of moves within the box that reaches the plane."""
    generator = torch.Generator().manual_seed(seed)
    points, slope = torch.rand(1, 2, 4, generator=generator), torch.randn(1, 2, 4, generator=generator)
    points[0, 0] = points[0, 0].round()
    slope[0, 1, 0] = 0
    gap = scale * torch.randn(1, generator=generator)
    move = onto_plane(points, slope, gap, "L1")
    assert ((points + move >= -1e-6) & (points + move <= 1 + 1e-6)).all()
    w, x = slope.flatten().double().numpy(), points.flatten().double().numpy()
    bounds = [(0, 1 - value) for value in x] + [(0, value) for value in x]
    program = linprog(np.ones(16), A_eq=[np.concatenate([w, -w])], b_eq=[-gap.item()], bounds=bounds)
    if program.success:
        assert length(move, "L1").item() == pytest.approx(program.fun, abs=1e-4)
        assert (slope * move).sum().item() == pytest.approx(-gap.item(), abs=1e-4)
    else:  # the box does not meet the plane
        outer = torch.where(-gap * slope > 0, 1 - points, -points) * (slope != 0)
        assert torch.allclose(move, outer, atol=1e-6)


def test_fab_finds_the_l1_distance_to_a_linear_boundary_within_the_box() -> None:
    inputs, labels = images((3, 6, 6)), torch.zeros(12, dtype=torch.long)
    model = Slope(inputs[0].numel())
    w = model.w.detach()
    for i in range(1, 12, 3):
        one, label = inputs[i : i + 1], labels[i : i + 1]
        model.lead = float((farthest(w[None], one, 2.0) - 0.5) @ w.double())  # the boundary is at distance 2
        for eps, expected in ((2.2, False), (1.98, True)):
            adv = searched(FAB(TASK, "L1", eps, steps=20), model, one, label, targets=1 - label)
            assert right(model, adv, label).item() is expected
            assert torch.equal(adv, one) is expected
        nearest = run("fab:norm=L1,steps=20", model, one, label)
        assert 2 <= length(nearest - one, "L1").item() < 2.1


@pytest.mark.parametrize(("side", "dimensions"), [(3, 2), (5, 2), (3, 3), (7, 1)])
def test_bumps_in_l1_have_unit_norm_and_two_equal_halves(side: int, dimensions: int) -> None:
    for axis in range(dimensions):
        pattern = bump(side, dimensions, axis, "L1").movedim(axis, 0)
        assert pattern.abs().sum().item() == pytest.approx(1)
        assert pattern[: side // 2].sum().item() == pytest.approx(0.5)
        assert pattern[side // 2 :].sum().item() == pytest.approx(-0.5)
    # Half a side of two: heights 1/2⁴ and 1/2⁴ + 1.
    assert (bump(5, 1, 0, "L1")[1] / bump(5, 1, 0, "L1")[0]).item() == pytest.approx(17)


def test_square_in_l1_climbs_towards_the_worst_case() -> None:
    inputs, labels = images((3, 10, 10), 4), torch.zeros(4, dtype=torch.long)
    model, shares = Slope(300), []
    for queries in (2, 60, 400):
        search = Square(TASK, "L1", 3.0, (3, 10, 10), queries=queries, share=0.8)
        adv = searched(search, model, inputs, labels)
        assert (length(adv - inputs, "L1") <= 3 + 1e-5).all()
        shares.append(float(model.reached(adv, inputs, 3.0).mean()))
    assert shares[0] < 0.3 < shares[1] < shares[2]
    assert shares[2] > 0.5


L1_ATTACKS = [info.name for info in NATIVE if "L1" in info.norms and "classification" in info.tasks]
QUICK = ("pgd", "apgd-t", "fab-t")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in L1_ATTACKS])
def test_no_attack_in_l1_is_invalid_and_none_depends_on_the_batch(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    inputs = images((3, 8, 8), 16)
    labels = model(inputs).argmax(dim=1)
    steps = "queries=60" if name == "square" else "steps=6"
    if name in ("autoattack", "adaptive") or name.endswith("-ensemble"):
        steps = "steps=4,queries=10"
    attack = resolve_attack(f"{name}:{steps},norm=L1,eps=0.4")
    whole = run(attack, model, inputs, labels)
    verdicts = verify(model, inputs, whole, labels, TASK, norm="L1", eps=0.4, respects_eps=attack.info.respects_eps)
    assert not verdicts.invalid.any()
    assert verdicts.broken.any()
    parts = run(attack, model, inputs, labels, batch_size=7)
    assert torch.equal(right(model, parts, labels), right(model, whole, labels))
    seeds = seeds_of(16)
    last = attack.run(model, inputs[11:], labels[11:], TASK, classes=5, seeds=seeds[11:])
    assert torch.equal(right(model, last, labels[11:]), right(model, whole, labels)[11:])


def test_autoattack_in_l1_has_five_starts_and_five_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SparseAPGD] = []
    begin = SparseAPGD.begin

    def watched(search: SparseAPGD, batch: Batch, attempts: Sequence[int]) -> SparseAscent:
        made.extend([search] * (search not in made))
        return begin(search, batch, attempts)

    monkeypatch.setattr(SparseAPGD, "begin", watched)
    inputs, labels = images((3, 6, 6)), torch.zeros(12, dtype=torch.long)

    class Wide(Slope):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.pad(super().forward(x), (0, 8), value=-50.0)

    run("autoattack:steps=6,queries=5,norm=L1,eps=1", Wide(108), inputs, labels)
    assert [(search.targeted, search.attempts, search.iterations) for search in made] == [(False, 5, 6), (True, 5, 6)]
    assert targeted_margin not in [search.loss for search in made]


def test_the_default_budget_in_l1_is_twelve() -> None:
    (attack,) = resolve_attacks(["autoattack"], norm="L1")
    assert attack.label == "autoattack:norm=L1,eps=12.0,steps=100,queries=5000"
    assert resolve_attack("PGD-L1").label == resolve_attack("pgd:norm=1,eps=12.0").label
