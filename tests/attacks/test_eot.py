"""Averages over draws of a random model (EOT), and searches on it: held against closed forms and scripted models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.catalog import CATALOG
from stein_bench.attacks.losses import Model, averaged_gradient, task_loss
from stein_bench.attacks.random_search import SETTLED, most_often_wrong
from stein_bench.attacks.search import Batch, Rows, Search, Step
from stein_bench.errors import UsageError
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.tasks import Classification

TASK = Classification()
EPS = 0.05


class Scripted(nn.Module):
    """Two logits, 0 and slope·mean(x) + shift; slope and shift follow a script, call after call."""

    def __init__(self, *script: tuple[float, float]) -> None:
        super().__init__()
        self.script, self.calls = script, 0

    def forward(self, x: Tensor) -> Tensor:
        slope, shift = self.script[self.calls % len(self.script)]
        self.calls += 1
        score = slope * x.flatten(1).mean(dim=1) + shift
        return torch.stack([torch.zeros_like(score), score], dim=1)


class Noisy(nn.Module):
    """Two logits whose difference is mean(x) - 1/2 plus Gaussian noise of each sample."""

    def __init__(self, sigma: float = 0.05) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1).mean(dim=1) - 0.5
        score = score + self.sigma * torch.randn_like(score)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def samples(count: int = 40) -> tuple[Tensor, Tensor]:
    """Near-gray images of 4×4 pixels that a noiseless `Noisy` gets right, by margins up to 0.1."""
    labels = torch.arange(count) % 2
    margins = torch.linspace(0.01, 0.1, count) * (2 * labels - 1)
    return (0.5 + margins).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), labels


def attacked(spec: str, model: nn.Module, inputs: Tensor, labels: Tensor, classes: int = 2, **options: bool) -> Tensor:
    seeds = list(range(len(inputs)))
    return resolve_attack(spec).run(model, inputs, labels, TASK, classes=classes, seeds=seeds, **options)


WITH_EOT = [
    "fgsm",
    "pgd:steps=4,restarts=2",
    "mifgsm:steps=4",
    "apgd-ce:steps=6",
    "apgd-dlr:steps=6",
    "apgd-t:steps=4",
    "square:queries=20",
]


@pytest.mark.parametrize("spec", WITH_EOT)
def test_a_model_that_is_not_random_gives_the_same_points_for_three_times_the_passes(spec: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 16), nn.Tanh(), nn.Linear(16, 5)).eval().requires_grad_(False)
    inputs = torch.rand(30, 3, 3, 3)
    labels = model(inputs).argmax(dim=1)
    once, thrice = CountingModel(model), CountingModel(model)
    # With a smaller budget some samples survive, and all parts of the attack run on them.
    first = attacked(f"{spec}{',' if ':' in spec else ':'}eps=0.02", once, inputs, labels, 5)
    other = attacked(f"{spec}{',' if ':' in spec else ':'}eps=0.02,eot=3", thrice, inputs, labels, 5)
    assert torch.equal(first, other)
    assert thrice.forward_passes == 3 * once.forward_passes
    assert thrice.backward_passes == 3 * once.backward_passes


def test_several_draws_of_a_model_that_is_not_random_change_nothing_in_l1() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, 16), nn.Tanh(), nn.Linear(16, 5)).eval().requires_grad_(False)
    inputs = torch.rand(20, 3, 3, 3)
    labels, counting = model(inputs).argmax(dim=1), CountingModel(model)
    first = attacked("apgd-ce:steps=10,norm=L1,eps=0.3", model, inputs, labels, 5)
    assert torch.equal(attacked("apgd-ce:steps=10,norm=L1,eps=0.3,eot=3", counting, inputs, labels, 5), first)
    assert counting.forward_passes > 3 * 20


def test_every_attack_with_eot_is_tested_and_transfer_attacks_have_none() -> None:
    assert {spec.partition(":")[0] for spec in WITH_EOT} == {i.name for i in CATALOG.values() if "eot" in i.params}


def test_one_draw_is_the_attack_without_eot() -> None:
    assert resolve_attack("pgd:eot=1") == replace(resolve_attack("pgd"), spec="pgd:eot=1")
    assert resolve_attack("APGD-CE:eot_iter=20").params == {"steps": 100, "restarts": 1, "eot": 20}
    assert resolve_attack("EOTPGD").info.backend == "torchattacks"


@pytest.mark.parametrize("spec", ["pgd:eot=0", "transfer.pgd:eot=2", "fab-t:eot=2", "pgd:eot=2.5"])
def test_wrong_numbers_of_draws_and_other_attacks_are_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="eot"):
        resolve_attack(spec)


def test_gradient_and_loss_are_means_over_the_draws() -> None:
    script = ((3.0, 0.5), (-1.0, 0.0), (2.0, -2.0))
    inputs, labels = samples(6)
    found = averaged_gradient(Scripted(*script), inputs, labels, labels, task_loss(TASK), TASK, eot=3)
    parts = [
        averaged_gradient(Scripted(one), inputs, labels, labels, task_loss(TASK), TASK) for one in script
    ]  # fmt: skip
    assert torch.allclose(found.gradient, sum(part.gradient for part in parts) / 3)
    assert torch.allclose(found.losses, sum(part.losses for part in parts) / 3)
    assert torch.equal(found.wrong, sum(part.wrong for part in parts) / 3)


@pytest.mark.parametrize(("wrong", "broken"), [(0, False), (1, False), (2, True), (3, True), (4, True)])
def test_a_point_counts_as_broken_if_it_is_not_right_in_more_than_half_of_the_draws(wrong: int, broken: bool) -> None:
    script = [(0.0, -1.0)] * wrong + [(0.0, 1.0)] * (4 - wrong)
    inputs, labels = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, dtype=torch.long)
    found = averaged_gradient(Scripted(*script), inputs, labels, labels, task_loss(TASK), TASK, eot=4)
    assert found.broken.tolist() == [broken]


def test_one_unlucky_draw_ends_nothing_on_a_random_model() -> None:
    inputs, labels = samples()
    spec = f"pgd:eps={EPS},steps=10,random_start=false"
    torch.manual_seed(0)
    stopped = attacked(spec, Noisy(), inputs, labels)
    torch.manual_seed(0)
    found = attacked(spec, Noisy(), inputs, labels, random=True)
    moved = (found - inputs).mean(dim=(1, 2, 3)) * (1 - 2 * labels)
    assert torch.allclose(moved, torch.full_like(moved, EPS), atol=1e-6)  # the strongest point of the ball
    assert ((stopped - inputs).mean(dim=(1, 2, 3)).abs() < 0.5 * EPS).float().mean() > 0.5


@pytest.mark.parametrize("spec", ["fgsm:eot=5", "mifgsm:eot=3", "apgd-ce:steps=20,eot=3", "square:queries=60,eot=20"])
def test_on_a_linear_model_with_noise_attacks_come_near_the_corner_of_the_ball(spec: str) -> None:
    inputs, labels = samples()
    torch.manual_seed(0)
    found = attacked(f"{spec},eps={EPS}", Noisy(0.02), inputs, labels, random=True)
    moved = (found - inputs).mean(dim=(1, 2, 3)) * (1 - 2 * labels)
    assert float(moved.mean()) > 0.8 * EPS
    assert float((found - inputs).abs().max()) <= EPS * (1 + 1e-5)


def test_a_sample_that_stays_wrong_leaves_after_so_many_draws() -> None:
    inputs, labels = samples(4)
    counting = CountingModel(Scripted((0.0, -1.0)))  # always the first class
    attacked("pgd:steps=50,eot=20", counting, inputs, labels, random=True)
    wrong, right = SETTLED // 20, 50
    assert counting.forward_passes == 20 * 2 * (wrong + right)


@dataclass(frozen=True)
class _Points(Rows):
    current: Tensor


@dataclass(frozen=True)
class _Given(Search[_Points]):
    """Attempts that end at given points without a step that would change anything."""

    values: Sequence[float]
    steps: int = 1

    @property
    def attempts(self) -> int:  # type: ignore[override]
        return len(self.values)

    def begin(self, batch: Batch, attempts: Sequence[int]) -> _Points:
        return _Points(torch.full_like(batch.inputs, self.values[attempts[0]]))

    def advance(self, model: Model, rows: _Points, numbers: Sequence[int]) -> Step[_Points]:
        nothing = torch.zeros(len(rows.current))
        return Step(rows, rows.current, nothing > 0, nothing, nothing)

    def last(self, rows: _Points) -> Tensor:
        return rows.current


def test_of_several_attempts_the_point_that_is_wrong_most_often_is_returned() -> None:
    inputs, labels = samples(2)
    batch = Batch.untargeted(inputs, labels, [0, 1])
    torch.manual_seed(0)
    found, ended = most_often_wrong(Noisy(0.05), TASK, [_Given([0.5, 0.3, 0.45]), _Given([0.6])], batch, 50)
    assert found.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.6, 0.3])
    assert ended == [1, 0]
