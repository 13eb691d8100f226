"""Passes known in advance: what attacks make is never outside the bounds, and both bounds are reached."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import Attack, resolve_attack
from stein_bench.attacks.catalog import CATALOG, NATIVE
from stein_bench.attacks.passes import STEPWISE, Bounds, Passes, Situation, bounds
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.guard import model_untouched
from stein_bench.tasks import TASKS, Task
from tests.attacks.known import LinearClasses
from tests.attacks.test_native import CLASSIFYING, network, spec_of

TASK = TASKS["classification"]
SHAPE = (3, 8, 8)
CLASSES = 5
CASES = [
    pytest.param(info.name, norm, marks=() if norm == info.norms[0] else pytest.mark.slow)
    for info in CLASSIFYING
    for norm in info.norms
]


class How(NamedTuple):
    """How the samples are attacked."""

    batch_dependent: bool = False
    random: bool = False


EACH = How()
HOW = {"each sample": EACH, "whole batches": How(batch_dependent=True), "random": How(random=True)}


class Decided(nn.Module):
    """Always predicts class 0, by far, with a gradient that leads nowhere."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.inner = LinearClasses(classes, 3 * 8 * 8)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return 1e-3 * logits + 100 * torch.eye(self.inner.weight.shape[0])[0]


def small(name: str, norm: str, **extra: str) -> Attack:
    if name in ("rays", "hopskipjump"):
        return resolve_attack(f"{name}:norm={norm},eps=0.05,queries=25")
    if name == "fast-ensemble":
        extra["drawn"] = "1"  # else only some samples, drawn at random, make all passes
    return resolve_attack(spec_of(name, norm=norm, eps="1" if norm == "L1" else "0.05", **extra))


def counted(
    attack: Attack, model: nn.Module, inputs: Tensor, labels: Tensor, task: Task = TASK, how: How = EACH
) -> Passes:
    """Return the passes per sample."""
    counting, count = CountingModel(model), len(inputs)
    with model_untouched(counting):
        attack.find(counting, inputs, labels, task, classes=CLASSES, seeds=list(range(count)), **how._asdict())
    return Passes(counting.forward_passes / count, counting.backward_passes / count)


def known(attack: Attack, task: Task = TASK, shape: tuple[int, ...] = SHAPE, how: How = EACH) -> Bounds:
    found = bounds(attack, Situation(task, CLASSES, shape, *how))
    assert found is not None
    return found


@pytest.mark.parametrize("how", [*list(HOW)[:2], pytest.param("random", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_passes_lie_within_the_bounds(name: str, norm: str, how: str) -> None:
    attack = small(name, norm)
    inputs = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    found = known(attack, how=HOW[how])
    for model in (network(), LinearClasses(CLASSES, 3 * 8 * 8)):
        labels = model(inputs).argmax(dim=1)
        labels[0] = (labels[0] + 1) % CLASSES  # one sample is wrong before the attack
        passes = counted(attack, model, inputs, labels, how=HOW[how])
        for least, made, most in zip(found.least, passes, found.most, strict=True):
            assert least <= made <= most


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_both_bounds_are_reached(name: str, norm: str, how: str) -> None:
    attack = small(name, norm)
    inputs, labels = torch.rand(3, *SHAPE), torch.zeros(3, dtype=torch.long)
    found = known(attack, how=HOW[how])
    if name != "cw":  # whose rounds end early where they make no progress
        assert counted(attack, Decided(), inputs, labels, how=HOW[how]) == found.most
    if not (how == "random" and norm == "L1"):  # there draws count in the last ball only, which comes late
        assert counted(attack, Decided(), inputs, labels + 1, how=HOW[how]) == found.least


@pytest.mark.parametrize(
    "spec", ["pgd:restarts=3", "mifgsm:eot=2", "apgd-ce:restarts=2,eot=3,steps=7", "apgd-t:steps=7"]
)
def test_restarts_and_draws_are_counted(spec: str) -> None:
    attack, inputs = resolve_attack(spec), torch.rand(3, *SHAPE)
    labels = torch.zeros(3, dtype=torch.long)
    for how in HOW.values():
        assert counted(attack, Decided(), inputs, labels, how=how) == known(attack, how=how).most


@pytest.mark.parametrize("name", [info.name for info in NATIVE if "segmentation" in info.tasks])
def test_on_label_maps_all_images_make_all_passes(name: str) -> None:
    attack, task = resolve_attack(name), TASKS["segmentation"]
    model, inputs = nn.Conv2d(3, CLASSES, 1), torch.rand(2, *SHAPE)
    found = known(attack, task)
    passes = counted(attack, model, inputs, torch.randint(CLASSES, (2, 8, 8)), task)
    assert passes == found.least == found.most


@pytest.mark.parametrize("name", ["FGSM", "FFGSM", *STEPWISE])
def test_the_steps_of_torchattacks_are_known(name: str) -> None:
    attack = resolve_attack(f"torchattacks.{name}")
    inputs, labels = torch.rand(3, *SHAPE), torch.zeros(3, dtype=torch.long)
    passes = counted(attack, LinearClasses(CLASSES, 3 * 8 * 8), inputs, labels)
    assert passes == known(attack).least == known(attack).most


def test_of_other_attacks_of_torchattacks_nothing_is_claimed() -> None:
    others = [info for name, info in CATALOG.items() if name == "torchattacks.VMIFGSM"]
    assert bounds(resolve_attack(others[0].name), Situation(TASK, CLASSES, SHAPE)) is None


def test_transfer_attacks_make_all_their_steps() -> None:
    attack, inputs = resolve_attack("transfer.pgd:steps=6"), torch.rand(3, *SHAPE)
    found = known(attack)
    assert found.least == found.most == counted(attack, Decided(), inputs, torch.ones(3, dtype=torch.long))


def test_a_corruption_makes_a_pass_per_draw() -> None:
    assert known(resolve_attack("noise-gaussian:seeds=4")).most == Passes(4, 0)
