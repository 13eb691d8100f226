"""Attacks that estimate gradients from scores, NES and SPSA: the gradient, the step, closed forms, queries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.estimated import Estimated, Estimates
from stein_bench.attacks.search import Batch
from stein_bench.errors import UsageError
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.tasks import Classification
from tests.attacks.known import HingeClasses, LinearClasses, problem, right, run, seeds_of

TASK = Classification()
KINDS = ("nes", "spsa")


def estimated(kind: str, norm: str = "Linf", **changes: float) -> Estimated:
    settings = {"eps": 1e-9, "queries": 402, "samples": 400, "spread": 0.001, "alpha": 0.001, **changes}
    return Estimated(kind, TASK, norm, **settings)  # type: ignore[arg-type]


def states(search: Estimated, model: nn.Module, inputs: Tensor, labels: Tensor, queries: int) -> list[Estimates]:
    """Return the states before the first and after every query."""
    count = len(inputs)
    found = [search.begin(Batch.untargeted(inputs, labels, seeds_of(count)), [0] * count)]
    for number in range(queries):
        found.append(search.advance(model, found[-1], [number] * count).rows)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_the_gradient_up_to_the_noise_of_its_samples(kind: str) -> None:
    """Of s/2 pairs in d dimensions: its cosine with the gradient is about (1 + d / (s/2))^(-1/2)."""
    model, features = LinearClasses(3, 30).requires_grad_(False), 30
    inputs, labels = problem(model, (features,), 8)
    others = model(inputs).scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
    exact = model.weight[labels] - model.weight[others]
    for samples in (40, 400):
        search = estimated(kind, samples=samples, queries=samples + 2, spread=1e-4, decay=0.0)
        estimate = states(search, model, inputs, labels, samples + 1)[-1].first
        estimate = estimate if kind == "nes" else estimate / 0.1  # Adam's running mean starts at zero
        cosine = torch.cosine_similarity(estimate, exact)
        assert abs(float(cosine.mean()) - (1 + features / (samples / 2)) ** -0.5) < 0.06
    assert torch.allclose(
        ((estimate * exact).sum(dim=1) / exact.square().sum(dim=1)).mean(), torch.tensor(1.0), atol=0.1
    )


@pytest.mark.parametrize(
    ("kind", "norm", "eps"),
    [
        ("nes", "L2", 0.06),
        ("spsa", "Linf", 0.012),
        pytest.param("nes", "Linf", 0.012, marks=pytest.mark.slow),
        pytest.param("spsa", "L2", 0.06, marks=pytest.mark.slow),
    ],
)
def test_two_linear_classes_fall_where_they_can(kind: str, norm: str, eps: float) -> None:
    model = LinearClasses(2, 24).requires_grad_(False)
    inputs, labels = problem(model, (2, 3, 4), 40)
    adv = run(f"{kind}:queries=600,samples=40,eps={eps},norm={norm}", model, inputs, labels)
    standing = right(model, adv, labels)
    assert 5 < standing.sum() < 35
    assert (standing >= model.robust(inputs, labels, eps, norm)).all()
    assert (standing <= model.robust(inputs, labels, eps * 0.85, norm)).all()


class Parabola(nn.Module):
    """One input; the margin of class 0 is 1 + (x - 0.3)²: pairs of queries give its exact derivative."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([1 + (x - 0.3).square(), torch.zeros_like(x)], dim=1)


def test_spsa_takes_the_steps_of_adam() -> None:
    """Against torch's own, in one dimension, where the random signs cancel."""
    inputs, labels = torch.tensor([[0.5]], dtype=torch.double), torch.zeros(1, dtype=torch.long)
    search = estimated("spsa", eps=0.5, queries=1000, samples=2, spread=0.01, alpha=0.02)
    reference = inputs.clone().requires_grad_(True)
    adam = torch.optim.Adam([reference], lr=0.02)
    for rows in states(search, Parabola(), inputs, labels, 75)[3::3]:
        adam.zero_grad()
        (reference - 0.3).square().sum().backward()
        adam.step()
        assert torch.allclose(rows.current, reference.detach(), atol=1e-4)  # margins are float32
    assert abs(float(rows.current) - 0.3) < 0.1


def test_nes_takes_signed_steps_along_the_running_mean() -> None:
    inputs, labels = torch.tensor([[0.5]]), torch.zeros(1, dtype=torch.long)
    search = estimated("nes", eps=0.25, queries=1000, samples=2, spread=0.01, alpha=0.05, decay=0.9)
    path = [float(rows.current) for rows in states(search, Parabola(), inputs, labels, 21)[3::3]]
    # Momentum carries it past the minimum at 0.3 to the edge of the ball.
    assert path == pytest.approx([0.45, 0.40, 0.35, 0.30, 0.25, 0.25, 0.25])


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_queries_than_promised_in_whole_updates(kind: str) -> None:
    model = LinearClasses(2, 9).requires_grad_(False)
    inputs, labels = problem(model, (1, 3, 3), 6)
    labels[0] = 1 - labels[0]
    counting = CountingModel(model)
    run(f"{kind}:queries=40,samples=6,eps=1e-6", counting, inputs, labels)
    asked_for_the_number_of_classes = 1
    assert counting.forward_passes - asked_for_the_number_of_classes == 5 * (1 + 5 * 7) + 1
    assert counting.backward_passes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_the_best_point_within_eps(kind: str) -> None:
    """Also if a later one is worse: the steps are far too long."""
    model = HingeClasses(4, 24).requires_grad_(False)
    inputs, labels = problem(model, (2, 3, 4), 12)
    shown: list[Tensor] = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shown.append(x)
            return model(x)

    adv = run(f"{kind}:queries=60,samples=4,eps=0.004,alpha=0.006", Watched(), inputs, labels, batch_dependent=True)
    seen = torch.stack([_margin(model, x, labels, inputs, 0.004) for x in shown if len(x) == 12])
    lowest, last = seen.amin(dim=0), seen[-1]
    broken = ~right(model, adv, labels)
    assert torch.equal(broken, lowest < 0)
    assert torch.allclose(_margin(model, adv, labels, inputs, 0.004)[~broken], lowest[~broken], atol=1e-6)
    assert (last > lowest + 1e-4)[~broken].any()


def _margin(model: nn.Module, points: Tensor, labels: Tensor, center: Tensor, eps: float) -> Tensor:
    logits = model(points)
    own = logits.gather(1, labels[:, None]).squeeze(1)
    gap = own - logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return torch.where((points - center).flatten(1).abs().amax(dim=1) <= eps + 1e-6, gap, torch.inf)


def test_infinite_margins_leave_the_steps_finite() -> None:
    class Log(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([torch.zeros(len(x)), torch.full((len(x),), -torch.inf)], dim=1)

    inputs, labels = torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
    for kind in KINDS:
        assert run(f"{kind}:queries=60,samples=4", Log(), inputs, labels).isfinite().all()


def test_the_default_step_sizes() -> None:
    attack = resolve_attack("nes:queries=5000,samples=50,eps=0.02")
    assert attack.params["alpha"] == pytest.approx(2.5 * 0.02 / 98)
    assert resolve_attack("spsa:eps=0.03").params["alpha"] == pytest.approx(0.01)
    assert resolve_attack("spsa:alpha=0.005").params["alpha"] == 0.005


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nes:samples=7", "samples of attack nes must be even"),
        ("nes:samples=0", "samples of attack nes must be at least 1"),
        ("spsa:queries=51", "attack spsa with samples=50 needs at least 52 queries for one step, not 51"),
        ("nes:sigma=0", "sigma of attack nes must be above 0"),
        ("spsa:delta=2", "delta of attack spsa must be above 0 and at most 1"),
        ("nes:decay=1", "decay of attack nes must be below 1"),
        ("rays:queries=0", "queries of attack rays must be at least 1"),
        ("rays:norm=L2", "norm of attack rays must be Linf"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_attack(spec)
