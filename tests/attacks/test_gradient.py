"""The native attacks against models whose exact robust accuracy is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stein_bench.attacks.attack import attack_seeds, resolve_attack
from stein_bench.attacks.geometry import project, random_start
from stein_bench.attacks.gradient import PGD, fgsm, input_gradient
from stein_bench.attacks.verify import perturbation_norm
from stein_bench.tasks import Classification
from tests.attacks.known import searched

TASK = Classification()


class Linear(nn.Module):
    """Two classes told apart by a hyperplane: logits (0, w·x + b)."""

    def __init__(self, features: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(features, generator=generator))
        self.b = nn.Parameter(-0.5 * self.w.detach().sum())

    def margin(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w + self.b

    def forward(self, x: Tensor) -> Tensor:
        margin = self.margin(x)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def linear_problem(shape: tuple[int, ...] = (3, 4, 4), n: int = 200) -> tuple[Linear, Tensor, Tensor]:
    """Inputs so near to mid-grey that the box never binds, with the labels the model gives them."""
    model = Linear(torch.Size(shape).numel())
    generator = torch.Generator().manual_seed(1)
    inputs = 0.5 + 0.06 * torch.randn(n, *shape, generator=generator).clamp(-3, 3)
    return model, inputs, (model.margin(inputs) > 0).long()


def robust_in_closed_form(model: Linear, inputs: Tensor, eps: float, norm: str) -> Tensor:
    """A sample is robust iff its margin exceeds eps times the dual norm of w."""
    dual = model.w.abs().sum() if norm == "Linf" else model.w.norm()
    return model.margin(inputs).abs() > eps * dual


def right(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return TASK.correct(model(inputs), labels)


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4, 4), (48,)])
def test_fgsm_is_exact_on_a_linear_model(shape: tuple[int, ...]) -> None:
    model, inputs, labels = linear_problem(shape)
    expected = robust_in_closed_form(model, inputs, 0.03, "Linf")
    assert 0 < expected.sum() < len(inputs)
    assert torch.equal(right(model, fgsm(model, inputs, labels, TASK, eps=0.03), labels), expected)


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.03), ("L2", 0.05)])
@pytest.mark.parametrize("start", [False, True])
def test_pgd_is_exact_on_a_linear_model(norm: str, eps: float, start: bool) -> None:
    model, inputs, labels = linear_problem()
    first = random_start(inputs.shape, range(len(inputs)), norm, eps)
    search = PGD(TASK, norm, eps, alpha=eps / 4, steps=20, start=(lambda *_: first) if start else None)
    adv = searched(search, model, inputs, labels)
    expected = robust_in_closed_form(model, inputs, eps, norm)
    assert 0 < expected.sum() < len(inputs)
    assert torch.equal(right(model, adv, labels), expected)


def test_pgd_stops_short_of_its_ball_with_small_steps() -> None:
    """alpha·steps below eps leaves samples standing that the ball would break: the figure is then too good."""
    model, inputs, labels = linear_problem()
    adv = searched(PGD(TASK, "Linf", 0.03, alpha=0.002, steps=5), model, inputs, labels)
    assert right(model, adv, labels).sum() > robust_in_closed_form(model, inputs, 0.03, "Linf").sum()


def test_pgd_keeps_the_first_misclassified_iterate() -> None:
    """A model that is wrong only in a thin shell: later iterates cross it and are right again."""

    class Shell(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shift = x.flatten(1).mean(dim=1) - 0.5
            wrong = (shift > 0.004) & (shift < 0.006)
            return torch.stack([-shift, torch.where(wrong, torch.ones_like(shift), -torch.ones_like(shift))], dim=1)

    inputs, labels = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    model = Shell()
    search = PGD(TASK, "Linf", 0.1, alpha=0.005, steps=10)
    kept = searched(search, model, inputs, labels)
    last = searched(replace(search, batch_dependent=True), model, inputs, labels, batch_dependent=True)
    assert not right(model, kept, labels).item()
    assert right(model, last, labels).item()


@settings(max_examples=40, deadline=None)
@given(
    norm=st.sampled_from(["Linf", "L2"]),
    eps=st.floats(0.001, 1.0),
    seed=st.integers(0, 1000),
)
def test_projection_stays_in_ball_and_box_and_is_idempotent(norm: str, eps: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(4, 3, 5, 5, generator=generator)
    points = center + torch.randn(4, 3, 5, 5, generator=generator)
    projected = project(points, center, norm, eps)
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert (perturbation_norm(projected.double() - center.double(), norm) <= eps * (1 + 1e-5) + 1e-6).all()
    assert torch.allclose(project(projected, center, norm, eps), projected, atol=1e-6)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_random_starts_fill_the_ball(norm: str) -> None:
    starts = random_start((2000, 2, 1, 1), range(2000), norm, 0.5)
    lengths = perturbation_norm(starts, norm)
    assert lengths.max() <= 0.5 + 1e-6
    # Uniform in a 2-D ball: the share within half the radius is a quarter, in every norm.
    assert abs((lengths <= 0.25).float().mean() - 0.25) < 0.04
    assert starts.mean().abs() < 0.02


def test_random_starts_depend_on_the_sample_alone() -> None:
    attack = resolve_attack("pgd")
    ids = [f"s{i}" for i in range(6)]
    whole = random_start((6, 3, 2, 2), attack_seeds(0, attack, ids), "Linf", 0.1)
    part = random_start((2, 3, 2, 2), attack_seeds(0, attack, ids[3:5]), "Linf", 0.1)
    assert torch.equal(whole[3:5], part)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole, random_start((6, 3, 2, 2), attack_seeds(1, attack, ids), "Linf", 0.1))


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_random_starts_neither_use_nor_change_the_global_generator(norm: str) -> None:
    before = torch.get_rng_state()
    one = random_start((2, 3, 2, 2), [5, 6], norm, 0.1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(random_start((2, 3, 2, 2), [5, 6], norm, 0.1), one)


def test_the_first_restart_is_the_one_that_is_not_named() -> None:
    named = {number: random_start((2, 3, 2, 2), [5, 6], "L2", 0.1, number) for number in (0, 1)}
    assert torch.equal(random_start((2, 3, 2, 2), [5, 6], "L2", 0.1), named[0])
    assert torch.equal(random_start((2, 3, 2, 2), [5, 6], "L2", 0.1, [0, 1])[1], named[1][1])
    assert not torch.equal(named[0], named[1])


def test_the_input_gradient_is_per_sample() -> None:
    model, inputs, labels = linear_problem(n=5)
    gradient, logits = input_gradient(model, inputs, labels, TASK)
    alone, _ = input_gradient(model, inputs[2:3], labels[2:3], TASK)
    assert torch.allclose(gradient[2:3], alone, atol=1e-7)
    assert not logits.requires_grad
    # d/dx of cross-entropy of (0, m) for label 1 is (σ(m) - 1)·w.
    chosen = labels == 1
    expected = (torch.sigmoid(model.margin(inputs)) - 1)[chosen, None] * model.w
    assert torch.allclose(gradient[chosen].flatten(1), expected, atol=1e-6)
