"""Attacks on one logit, in two and three dimensions, against the closed form of a linear model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.two_class import TwoLogits
from stein_bench.attacks.verify import verify
from stein_bench.guard import model_untouched
from stein_bench.tasks import TASKS, two_logits

TASK = TASKS["binary"]
VOLUME, IMAGE = (1, 5, 4, 3), (3, 16, 16)
EPS = {"Linf": 0.05, "L2": 0.25}


class OneLogit(nn.Module):
    """z = w·x + b of shape (n, 1): robust within eps where |z| beats eps times the dual norm of w."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return ((x - 0.5) * self.weight).flatten(1).sum(dim=1, keepdim=True)

    def robust(self, inputs: Tensor, labels: Tensor, eps: float, norm: str) -> Tensor:
        margin = self(inputs).squeeze(1) * torch.where(labels == 1, 1, -1)
        return margin > eps * self.weight.norm(p=1 if norm == "Linf" else 2)


def problem(shape: tuple[int, ...], norm: str) -> tuple[OneLogit, Tensor, Tensor]:
    """Sixty samples near mid-grey, so that the box never binds; their margins lie around the budget's reach."""
    model, generator = OneLogit(shape), torch.Generator().manual_seed(1)
    reach = EPS[norm] * model.weight.norm(p=1 if norm == "Linf" else 2)
    wanted = torch.linspace(-0.3, 2.2, 60) * reach
    labels = torch.arange(60) % 2
    wanted = wanted * torch.where(labels == 1, 1, -1)
    noise = 0.05 * (torch.rand(60, *shape, generator=generator) - 0.5)
    correction = (wanted - model(0.5 + noise).squeeze(1)) / model.weight.square().sum()
    return model.eval(), 0.5 + noise + correction.view(-1, *[1] * len(shape)) * model.weight, labels


def attacked(spec: str, model: nn.Module, inputs: Tensor, labels: Tensor, norm: str) -> tuple[Tensor, Tensor]:
    """Return which samples survive an attack, as verified, and which of its inputs are invalid."""
    own = f"eps={EPS[norm]}" + ("" if spec.startswith("torchattacks") else f",norm={norm}")
    attack = resolve_attack(spec + ("," if ":" in spec else ":") + own)
    with model_untouched(model):
        adv_inputs = attack.run(model, inputs, labels, TASK, classes=2, seeds=range(len(inputs)))
    verdicts = verify(
        model, inputs, adv_inputs, labels, TASK, norm=attack.norm, eps=attack.eps, respects_eps=attack.info.respects_eps
    )  # fmt: skip
    survives = TASK.correct(model(inputs), labels) & ~torch.from_numpy(verdicts.broken)
    return survives, torch.from_numpy(verdicts.invalid)


NATIVE = ["pgd:steps=20", "mifgsm:steps=20", "apgd-ce:steps=40", "fab-t:steps=40", "fab:steps=40",
          "autoattack:steps=20,queries=10"]  # fmt: skip


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("shape", [VOLUME, IMAGE])
@pytest.mark.parametrize("spec", NATIVE)
def test_attacks_reach_the_closed_form(spec: str, shape: tuple[int, ...], norm: str) -> None:
    model, inputs, labels = problem(shape, norm)
    exact = model.robust(inputs, labels, EPS[norm], norm)
    assert 20 < int(exact.sum()) < 40
    survives, invalid = attacked(spec, model, inputs, labels, norm)
    assert not invalid.any()
    assert torch.equal(survives, exact)


@pytest.mark.parametrize("shape", [VOLUME, IMAGE])
def test_one_step_is_enough_for_a_linear_model(shape: tuple[int, ...]) -> None:
    model, inputs, labels = problem(shape, "Linf")
    own = resolve_attack(f"fgsm:eps={EPS['Linf']}")
    adv_inputs = own.run(model, inputs, labels, TASK, classes=2, seeds=range(60))
    away = torch.where(labels == 1, -1, 1).view(-1, *[1] * len(shape)) * model.weight.sign() * EPS["Linf"]
    assert torch.allclose(adv_inputs, inputs + away)


@pytest.mark.parametrize("shape", [VOLUME, IMAGE])
def test_square_finds_some_and_claims_no_more_than_there_are(shape: tuple[int, ...]) -> None:
    model, inputs, labels = problem(shape, "Linf")
    survives, invalid = attacked("square:queries=300", model, inputs, labels, "Linf")
    exact, clean = model.robust(inputs, labels, EPS["Linf"], "Linf"), TASK.correct(model(inputs), labels)
    assert not invalid.any()
    assert (exact <= survives).all()
    assert int(survives.sum()) < int(clean.sum())


LIBRARY = ["FGSM", "PGD:steps=20", "MIFGSM", "APGD:steps=20", "Square:n_queries=300"]


@pytest.mark.parametrize("spec", LIBRARY)
def test_torchattacks_work_on_images_through_the_same_view(spec: str) -> None:
    model, inputs, labels = problem(IMAGE, "Linf")
    survives, invalid = attacked(f"torchattacks.{spec}", model, inputs, labels, "Linf")
    exact = model.robust(inputs, labels, EPS["Linf"], "Linf")
    assert not invalid.any()
    assert (exact <= survives).all()
    if not spec.startswith(("Square", "MIFGSM")):
        assert torch.equal(survives, exact)


def test_the_view_of_a_single_logit_is_two_and_two_logits_stay() -> None:
    model, inputs, _ = problem(VOLUME, "Linf")
    seen = TwoLogits(model)(inputs)
    assert torch.equal(seen[:, 1] - seen[:, 0], model(inputs).squeeze(1))
    assert torch.equal(TwoLogits(lambda_module(lambda x: x.flatten(1)[:, :2]))(inputs), inputs.flatten(1)[:, :2])
    assert not TwoLogits(model).training


def test_confident_predictions_have_a_gradient_whatever_their_class() -> None:
    """Cross-entropy in float32 is flat where a softmax is 1; a logit of 60 is not unusual."""
    logits = torch.tensor([60.0, -60.0], requires_grad=True)
    labels = torch.tensor([1, 0])
    for losses in (TASK.loss(logits, labels), TASKS["classification"].loss(two_logits(logits), labels)):
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert gradient[0] < 0 < gradient[1]
        assert gradient[0] == -gradient[1]


def lambda_module(function: object) -> nn.Module:
    module = nn.Module()
    module.forward = function
    return module


def test_the_catalog_says_which_attacks_support_two_classes() -> None:
    assert all("binary" in CATALOG[name].supported_tasks for name in ("pgd", "square", "autoattack", "noise-gaussian"))
    assert not any("binary" in CATALOG[name].supported_tasks for name in ("apgd-dlr", "apgd-t", "segpgd"))
