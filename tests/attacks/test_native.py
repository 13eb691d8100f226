"""All native attacks: a complete registry, budgets that hold, verdicts that do not depend on batches or early stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.catalog import NATIVE
from stein_bench.attacks.gradient import Iterates, Unperturbed
from stein_bench.attacks.losses import Model, margin
from stein_bench.attacks.native import NATIVE_ATTACKS
from stein_bench.attacks.refill import refill
from stein_bench.attacks.search import Batch, Search, Step, still_right, whole_batch
from stein_bench.attacks.verify import verify
from stein_bench.errors import UsageError
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.guard import model_untouched
from stein_bench.memory import MemoryLimit
from stein_bench.tasks import Classification
from tests.attacks.known import HingeClasses, LinearClasses, Padded, problem, right, run

TASK = Classification()

UNTARGETED = [
    "pgd:steps=40,alpha=0.02",
    "pgd:steps=20,alpha=0.02,restarts=2",
    "mifgsm:steps=40",
    "apgd-ce:steps=40",
    "apgd-dlr:steps=40",
]
"""Specs that must find every sample that can be broken at all where one other class is the way."""

TARGETED = ["apgd-t:steps=40", "fab-t:steps=40", "autoattack:steps=40,queries=10"]
"""Specs that must do so also where each of several classes may be the nearest."""


def network(classes: int = 5, shape: tuple[int, ...] = (3, 8, 8)) -> nn.Module:
    """A small random network with a convolution of the inputs' rank, BN and dropout."""
    torch.manual_seed(0)
    convolution, norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[len(shape) - 1]
    body = nn.Sequential(convolution(shape[0], 6, 3), norm(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten())
    with torch.no_grad():
        features = body(torch.zeros(2, *shape)).shape[1]
    return nn.Sequential(body, nn.Linear(features, classes)).eval()


def test_every_native_attack_of_the_catalog_has_a_function_and_the_other_way_round() -> None:
    assert [info.name for info in NATIVE] == list(NATIVE_ATTACKS)


NATIVE_BY_NAME = {info.name: info for info in NATIVE}
CLASSIFYING = [info for info in NATIVE if "classification" in info.tasks]
ENSEMBLES = ("autoattack", "fast-ensemble", "strongest-ensemble")
QUICK = {
    **dict.fromkeys(ENSEMBLES, "steps=3,queries=10"),
    "adaptive": "steps=10,queries=10",
    "cw": "steps=10,search_steps=3,c=1",
    "square": "queries=30",
    **dict.fromkeys(("nes", "spsa"), "queries=40,samples=6"),
    "rays": "queries=80",
    "hopskipjump": "queries=80",
}
BY_QUERIES = ("nes", "spsa", "rays", "hopskipjump")
"""Their independence of the batch is shown in test_decision.py, where rounding has no part in it."""


def spec_of(name: str, **extra: str) -> str:
    pairs = [QUICK[name]] if name in QUICK else ["steps=5"] if name != "fgsm" else []
    pairs += [f"{key}={value}" for key, value in extra.items()]
    return f"{name}:{','.join(pairs)}" if pairs else name


# Both kinds of inputs and both ways to run a batch; the other two pairs of them are slow.
@pytest.mark.parametrize(
    ("shape", "batch_dependent"),
    [
        ((3, 8, 8), True),
        ((1, 5, 6, 7), False),
        pytest.param((3, 8, 8), False, marks=pytest.mark.slow),
        pytest.param((1, 5, 6, 7), True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("name", "norm"), [(info.name, norm) for info in CLASSIFYING for norm in info.norms])
def test_every_native_attack_keeps_budget_and_box_on_images_and_volumes(
    name: str, norm: str, shape: tuple[int, ...], batch_dependent: bool
) -> None:
    model, inputs = network(shape=shape), torch.rand(6, *shape, generator=torch.Generator().manual_seed(2))
    inputs[0] = 0.0  # at the box's corner
    labels = model(inputs).argmax(dim=1)
    eps = 1.0 if norm == "L1" else 0.1
    attack = resolve_attack(spec_of(name, norm=norm, eps=str(eps)))
    adv = run(attack, model, inputs, labels, batch_dependent=batch_dependent)
    verdicts = verify(model, inputs, adv, labels, TASK, norm=norm, eps=eps, respects_eps=attack.info.respects_eps)
    assert not verdicts.invalid.any()
    assert (verdicts.linf > 0).any()


@pytest.mark.parametrize("name", [info.name for info in CLASSIFYING])
def test_every_native_attack_leaves_rng_and_flags_alone(name: str) -> None:
    model, inputs, labels = network(), torch.rand(4, 3, 8, 8), torch.arange(4)
    flags = [module.training for module in model.modules()]
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with model_untouched(model):
        first = run(spec_of(name), model, inputs, labels)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(8)
        assert torch.equal(first, run(spec_of(name), model, inputs, labels))
    assert [module.training for module in model.modules()] == flags


@pytest.mark.parametrize("name", [info.name for info in CLASSIFYING])
def test_half_precision_is_refused_clearly(name: str) -> None:
    with pytest.raises(UsageError, match=f"attack {name} takes float32 inputs, not float16"):
        resolve_attack(name).run(
            network(), torch.rand(2, 3, 8, 8).half(), torch.arange(2), TASK, classes=5, seeds=[0, 1]
        )


@pytest.mark.parametrize(
    "spec", [spec_of(info.name, eps="0.02") for info in CLASSIFYING if info.name not in BY_QUERIES]
)
def test_verdicts_are_those_of_the_whole_batch_at_every_batch_size(spec: str) -> None:
    model, attack_name = HingeClasses(6, 48), spec.partition(":")[0]
    count = 36
    inputs, labels = problem(model, (3, 4, 4), count)
    whole = run(spec, model, inputs, labels)
    broken = ~right(model, whole, labels)
    assert broken.any()
    assert not resolve_attack(spec).info.respects_eps or not broken.all()  # without a budget everything falls
    for size, first in ((1, 12), (5, count), (17, count)):  # samples alone take long: the first of them will do
        parts = run(spec, model, inputs[:first], labels[:first], batch_size=size)
        assert torch.equal(~right(model, parts, labels[:first]), broken[:first])
        if attack_name == "cw":
            continue  # Adam turns rounding, which depends on the batch size, into steps
        # The last bits of an output may depend on the batch size, which decides where a random search finds a tie.
        apart = (parts - whole[:first]).flatten(1).abs().amax(dim=1) > 1e-6
        assert apart.sum() <= (1 if attack_name in ("square", "adaptive", *ENSEMBLES) else 0)
        assert torch.allclose(margin(model(parts), labels[:first]), margin(model(whole), labels)[:first], atol=1e-5)
    order = torch.arange(count - 1, -1, -1)
    attack = resolve_attack(spec)
    seeds = [1000 + i for i in order.tolist()]
    turned = attack.run(model, inputs[order], labels[order], TASK, classes=6, seeds=seeds)
    assert torch.equal(~right(model, turned[order], labels), broken)


def check_exact(spec: str, model: nn.Module, norm: str, eps: float) -> None:
    inputs, labels = problem(model, (2, 5, 5), 150)
    robust = model.robust(inputs, labels, eps, norm)
    assert 15 < robust.sum() < 135
    standing = right(model, run(f"{spec},eps={eps},norm={norm}", model, inputs, labels), labels)
    if spec.startswith("fab-t"):
        # It overshoots the boundary by η and stays about half a per cent beyond it: nearer than that it misses.
        assert (standing <= model.robust(inputs, labels, eps / 1.01, norm)).all()
        assert (standing >= robust).all()
    else:
        assert torch.equal(standing, robust)


@pytest.mark.parametrize("spec", UNTARGETED + TARGETED)
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.01), ("L2", 0.06)])
def test_every_strong_attack_is_exact_on_two_linear_classes(spec: str, norm: str, eps: float) -> None:
    more = resolve_attack(spec).info.min_classes - 2
    check_exact(spec, Padded(LinearClasses(2, 50), more), norm, eps)


@pytest.mark.parametrize("spec", [spec for spec in UNTARGETED + TARGETED if not spec.startswith("apgd-dlr")])
def test_strong_attacks_are_exact_on_piecewise_linear_classes(spec: str) -> None:
    """All but the untargeted ratio, which raises one class at a time and not always the nearest."""
    check_exact(spec, HingeClasses(5, 50), "Linf", 0.015)


@pytest.mark.parametrize("spec", TARGETED)
@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.005), ("L2", 0.04)])
def test_targeted_attacks_are_exact_on_several_linear_classes(spec: str, norm: str, eps: float) -> None:
    """The way to the likeliest other class is not always the shortest."""
    check_exact(spec, LinearClasses(5, 50, uneven=True), norm, eps)


def test_the_active_set_changes_no_verdict_and_saves_work() -> None:
    """The same steps without early stop: a whole batch kept to the end, of which every iterate is looked at."""
    model = HingeClasses(6, 48)
    inputs, labels = problem(model, (3, 4, 4), 100)
    counting = CountingModel(model)
    adv = run("pgd:eps=0.02,steps=10,random_start=false", counting, inputs, labels)
    ever_wrong = torch.zeros(100, dtype=torch.bool)
    for steps in range(1, 11):
        spec = f"pgd:eps=0.02,alpha=0.005,steps={steps},random_start=false"
        ever_wrong |= ~right(model, run(spec, model, inputs, labels, batch_dependent=True), labels)
    assert torch.equal(~right(model, adv, labels), ever_wrong)
    assert counting.backward_passes < 100 * 10


class OneGoodStart(nn.Module):
    """Wrong only near one corner, with a flat loss elsewhere: nothing but a lucky start gets there."""

    def forward(self, x: Tensor) -> Tensor:
        shift = x.flatten(1)[:, 0] - 0.5
        wrong = (shift > 0.08) & (shift < 0.1)
        return torch.stack([torch.zeros_like(shift), torch.where(wrong, shift * 0 + 1, shift * 0 - 1)], dim=1)


def test_restarts_start_elsewhere_and_keep_what_was_found() -> None:
    model, inputs, labels = OneGoodStart(), torch.full((50, 1, 1, 2), 0.5), torch.zeros(50, dtype=torch.long)
    broken = [
        ~right(model, run(f"pgd:eps=0.1,steps=1,restarts={n}", model, inputs, labels), labels) for n in (1, 3, 12)
    ]
    assert 0 < broken[0].sum() < broken[1].sum() < broken[2].sum() < 50
    # Starts of 3 and of 12 restarts belong to specs with other labels; within one run they nest by construction.


def test_attempts_after_the_first_get_only_what_stands_and_spoil_nothing() -> None:
    model = LinearClasses(3, 4)
    inputs, labels = problem(model, (4,), 20)
    sizes: list[int] = []

    class Jump(Unperturbed):
        """Jumps to the opposite corner with the samples whose first input is above a threshold."""

        above: float

        def advance(self, model: Model, rows: Iterates, numbers: Sequence[int]) -> Step[Iterates]:
            sizes.append(len(numbers))
            chosen = (rows.center[:, 0] > self.above)[:, None]
            points = torch.where(chosen, 1 - rows.center, rows.center)
            return Step(replace(rows, current=points), points, ~still_right(model, TASK, points, rows.labels))

        def whole(self, model: Model, batch: Batch, attempt: int) -> Tensor:
            return Search.whole(self, model, batch, attempt)

    breaks_some, breaks_nothing = Jump(TASK), Jump(TASK)
    object.__setattr__(breaks_some, "above", 0.5)
    object.__setattr__(breaks_nothing, "above", 2.0)
    batch = Batch.untargeted(inputs, labels, range(20))
    wrong = ~right(model, 1 - inputs, labels) & (inputs[:, 0] > 0.5)
    assert 0 < wrong.sum() < 20
    adv = next(refill(model, [breaks_some, breaks_nothing], [batch], MemoryLimit(20))).adv_inputs
    assert sizes == [20, 20 - int(wrong.sum())]
    assert torch.equal(~right(model, adv, labels), wrong)
    sizes.clear()
    adv = whole_batch(model, TASK, [breaks_nothing, breaks_some], batch)
    assert sizes == [20, 20]
    assert torch.equal(~right(model, adv, labels), wrong)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pgd:restarts=0", "restarts of attack pgd must be at least 1"),
        ("pgd:random_start=false,restarts=2", "starts at the same point every time"),
        ("mifgsm:decay=-1", "decay of attack mifgsm must not be below 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_attack(spec)
