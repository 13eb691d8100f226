"""Attacks on segmentation: closed-form optima, the best iterate of every image, void pixels, batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.catalog import NATIVE
from stein_bench.attacks.dense import best_seen, segpgd_loss
from stein_bench.attacks.verify import verify
from stein_bench.tasks import IGNORE, TASKS

TASK = TASKS["segmentation"]
DENSE = [info.name for info in NATIVE if "segmentation" in info.tasks]


class PerPixel(nn.Module):
    """Two classes told apart by a linear function of each pixel: a pixel turns iff its margin is below eps·‖w‖₁."""

    weight = torch.tensor([3.0, -2.0, 1.0])

    def forward(self, x: Tensor) -> Tensor:
        score = torch.einsum("ncHW,c->nHW", x - 0.5, self.weight)
        return torch.stack([-score, score], dim=1)


class Small(nn.Module):
    """A random convolutional network with BN and 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return 8 * self.body(x)


def images(n: int = 6, size: int = 8) -> Tensor:
    return 0.5 + 0.08 * torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1)).clamp(-3, 3)


def run(
    spec: str, model: nn.Module, inputs: Tensor, labels: Tensor, batch_size: int = 6, batch_dependent: bool = False
):
    attack, found = resolve_attack(spec), []
    seeds = [100 + i for i in range(len(inputs))]
    for i in range(0, len(inputs), batch_size):
        part = slice(i, i + batch_size)
        arguments = {"classes": 2, "seeds": seeds[part], "batch_dependent": batch_dependent}
        found.append(attack.run(model.eval().requires_grad_(False), inputs[part], labels[part], TASK, **arguments))
    return torch.cat(found)


def right(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    return (model(inputs).argmax(dim=1) == labels).flatten(1).sum(dim=1)


@pytest.mark.parametrize("spec", ["fgsm", "pgd:steps=20", "mifgsm:steps=20", "segpgd:steps=20", "apgd-ce:steps=30"])
def test_a_linear_model_loses_exactly_the_pixels_that_can_be_lost(spec: str) -> None:
    model, inputs, eps = PerPixel(), images(), 0.02
    labels = model(inputs).argmax(dim=1)
    labels[:, 0] = IGNORE
    labels[0, 1] = 1 - labels[0, 1]  # wrong from the start
    margins = (2 * labels - 1) * model(inputs)[:, 1]
    expected = ((margins > eps * model.weight.abs().sum()) & (labels != IGNORE)).flatten(1).sum(dim=1)
    adv = run(f"{spec}{',' if ':' in spec else ':'}eps={eps}", model, inputs, labels)
    assert right(model, adv, labels).tolist() == expected.tolist()
    assert (expected < right(model, inputs, labels)).all()


@pytest.mark.parametrize("batch_dependent", [False, True])
@pytest.mark.parametrize(
    ("name", "norm"), [(info.name, norm) for info in NATIVE if "segmentation" in info.tasks for norm in info.norms]
)
def test_budget_and_box_hold_and_no_image_gets_better(name: str, norm: str, batch_dependent: bool) -> None:
    model, inputs = Small(), images()
    inputs[0] = (inputs[0] > 0.5).float()  # on the edge of the box
    labels = model.eval()(inputs).argmax(dim=1)
    labels[:, :2] = torch.randint(0, 4, labels[:, :2].shape)
    eps = 0.03 if norm == "Linf" else 0.5
    steps = "" if name == "fgsm" else "steps=6,"
    adv = run(f"{name}:{steps}norm={norm},eps={eps}", model, inputs, labels, batch_dependent=batch_dependent)
    verdicts = verify(model, inputs, adv, labels, TASK, norm=norm, eps=eps, respects_eps=True)
    assert not verdicts.invalid.any()
    before, after = (TASK.quality(model(x), labels) for x in (inputs, adv))
    if batch_dependent:
        assert after.sum() < before.sum()
    else:
        assert (after <= before).all()
        assert (after < before).any()


@pytest.mark.parametrize("name", DENSE)
def test_what_is_found_does_not_depend_on_the_batch(name: str) -> None:
    model, inputs = Small(), images()
    labels = model.eval()(inputs).argmax(dim=1)
    steps = "" if name == "fgsm" else "steps=5,"
    restarts = "restarts=2," if name not in ("fgsm", "mifgsm") else ""
    spec = f"{name}:{steps}{restarts}eps=0.02"
    whole = run(spec, model, inputs, labels)
    for batch_size in (1, 4):
        assert torch.allclose(run(spec, model, inputs, labels, batch_size), whole, atol=1e-6)


def test_many_steps_are_stronger_than_one() -> None:
    model, inputs = Small(), images(12)
    labels = model.eval()(inputs).argmax(dim=1)
    scores = {
        spec: TASK.quality(model(run(spec, model, inputs, labels, 12)), labels).mean().item()
        for spec in ("fgsm:eps=0.03", "pgd:eps=0.03,steps=20", "segpgd:eps=0.03,steps=20")
    }
    one_step, pgd, segpgd = scores.values()
    assert pgd < 0.97 * one_step
    assert segpgd < 0.97 * one_step


def test_segpgd_weighs_right_pixels_first_and_void_ones_never() -> None:
    logits = torch.tensor([[[[2.0, 0.0, 1.0]], [[0.0, 3.0, 5.0]]]], requires_grad=True)
    labels = torch.tensor([[[0, 0, IGNORE]]])  # right, wrong, void
    losses = nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE)[0, 0]
    for shift in (0.0, 0.25):
        expected = ((1 - shift) * losses[0] + shift * losses[1]) / 2
        assert segpgd_loss(logits, labels, shift).item() == pytest.approx(expected.item())
    (gradient,) = torch.autograd.grad(segpgd_loss(logits, labels, 0.0).sum(), logits)
    assert gradient[0, :, 0].abs().sum(dim=0).gt(0).tolist() == [True, False, False]


def test_the_best_point_of_every_image_is_kept_or_of_coupled_ones_the_best_batch() -> None:
    model, inputs = PerPixel(), images(2)
    labels = model(inputs).argmax(dim=1)
    flipped = 1 - inputs
    first, second = torch.stack([flipped[0], inputs[1]]), torch.stack([inputs[0], flipped[1]])
    both = 0.5 + 0 * inputs  # every pixel on the border: class 0 everywhere

    def attack(watched) -> Tensor:
        for points in (first, second):
            watched(points)
        return both

    assert torch.equal(best_seen(model, TASK, inputs, labels, attack, batch_dependent=False), flipped)
    alone = [TASK.quality(model(points), labels).sum().item() for points in (first, second, both)]
    expected = [first, second, both][alone.index(min(alone))]
    assert torch.equal(best_seen(model, TASK, inputs, labels, attack, batch_dependent=True), expected)


def test_an_image_without_a_label_is_left_alone() -> None:
    model, inputs = PerPixel(), images(2)
    labels = model(inputs).argmax(dim=1)
    labels[0] = IGNORE
    adv = run("pgd:eps=0.02,random_start=false", model, inputs, labels)
    assert torch.equal(adv[0], inputs[0])
    assert not torch.equal(adv[1], inputs[1])
