"""Refilled batches: verdicts of each sample alone, results in order, constant sizes, running out of memory."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stein_bench.attacks import refill as refill_module
from stein_bench.attacks.attack import Attack, resolve_attack
from stein_bench.attacks.catalog import NATIVE
from stein_bench.attacks.gradient import PGD, Iterates
from stein_bench.attacks.search import Batch
from stein_bench.memory import MemoryLimit
from stein_bench.tasks import TASKS, Classification
from tests.attacks.known import HingeClasses, problem, right, run, seeds_of

TASK = Classification()
COUNT = 90
SHAPE = (3, 4, 4)
SPECS = [
    "pgd:steps=5,eps=0.02",
    "pgd:steps=4,eps=0.01,restarts=3",
    "pgd:steps=4,eps=0.06,norm=L2",
    "mifgsm:steps=5,eps=0.02",
    "apgd-ce:steps=8,eps=0.01,restarts=2",
    "apgd-dlr:steps=8,eps=0.02",
    "apgd-t:steps=6,eps=0.01,norm=Linf",
    "fab-t:steps=4,eps=0.02",
    "square:queries=60,eps=0.03",
    "square:queries=60,eps=0.15,norm=L2",
    "autoattack:steps=5,queries=30,eps=0.012",
    "autoattack:steps=5,queries=30,eps=0.08,norm=L2",
    "pgd:steps=4,eps=0.2,norm=L1,restarts=2",
    "apgd-t:steps=6,eps=0.2,norm=L1",
    "fast-ensemble:steps=10,queries=50,eps=0.012,drawn=0.5",
    "strongest-ensemble:steps=5,queries=30,eps=0.012",
]


class Watched(nn.Module):
    """Keeps the sizes of the batches that it is shown, and has no memory for larger ones than `fits`."""

    def __init__(self, model: nn.Module, fits: int | None = None) -> None:
        super().__init__()
        self.model, self.fits = model, fits
        self.sizes: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.append(len(inputs))
        if self.fits is not None and len(inputs) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        outputs: Tensor = self.model(inputs)
        return outputs


@pytest.fixture(autouse=True)
def _batches_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the model a batch whole, as on a GPU."""
    monkeypatch.setattr("stein_bench.attacks.losses.chunks", lambda count, device: [slice(0, count)])


def model_and_samples() -> tuple[nn.Module, Tensor, Tensor]:
    model = HingeClasses(6, 48).requires_grad_(False)
    inputs, labels = problem(model, SHAPE, COUNT)
    labels[::15] = (labels[::15] + 1) % 6  # some are misclassified without an attack
    return model, inputs, labels


def refilled(
    attack: Attack,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    order: list[int],
    capacity: int | None = None,
    on_halving: Callable[[int], None] | None = None,
) -> Tensor:
    """Attack the samples in that order, as evaluation does on a GPU, and return the results in data order."""
    parts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    seeds = seeds_of(len(inputs))
    batches = (Batch.untargeted(inputs[part], labels[part], [seeds[i] for i in part]) for part in parts)
    memory = MemoryLimit(capacity or batch_size, on_halving)
    results = attack.run_refilled(model, batches, TASK, classes=6, shape=SHAPE, memory=memory)
    found = [result.adv_inputs for result in results]
    assert [len(part) for part in found] == [len(part) for part in parts]
    in_order = torch.empty_like(inputs)
    if found:
        in_order[order] = torch.cat(found)
    return in_order


@pytest.mark.parametrize(
    "spec", [spec if "L1" not in spec else pytest.param(spec, marks=pytest.mark.slow) for spec in SPECS]
)
def test_results_are_those_of_whole_batches_at_every_size_and_in_any_order(spec: str) -> None:
    model, inputs, labels = model_and_samples()
    attack = resolve_attack(spec)
    expected = run(attack, model, inputs, labels)
    broken = ~right(model, expected, labels)
    assert 6 < broken.sum() < COUNT
    shuffled = random.Random(5).sample(range(COUNT), COUNT)
    for size, order in ((1, list(range(8))), (7, shuffled), (32, shuffled), (64, list(range(COUNT)))):
        found = refilled(attack, model, inputs[: len(order)], labels[: len(order)], batch_size=size, order=order)
        assert torch.equal(~right(model, found, labels[: len(order)]), broken[: len(order)])
        assert torch.allclose(found, expected[: len(order)], atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(batch_size=st.integers(1, 64), capacity=st.integers(1, 64), seed=st.integers(0, 99))
@pytest.mark.usefixtures("_batches_whole")
def test_any_capacity_gives_the_same_verdicts(batch_size: int, capacity: int, seed: int) -> None:
    model, inputs, labels = model_and_samples()
    attack = resolve_attack("pgd:steps=3,eps=0.015,restarts=2")
    order = random.Random(seed).sample(range(COUNT), COUNT)
    found = refilled(attack, model, inputs, labels, batch_size=batch_size, order=order, capacity=capacity)
    assert torch.equal(found, run(attack, model, inputs, labels))


def test_every_attack_with_early_stops_is_refilled_and_no_other() -> None:
    refilling = {info.name for info in NATIVE if resolve_attack(info.name).refills(TASK)}
    assert refilling == {info.name for info in NATIVE} - {"fgsm", "fab"}
    assert not resolve_attack("transfer.pgd").refills(TASK)
    assert not resolve_attack("torchattacks.PGD").refills(TASK)
    assert not resolve_attack("pgd").refills(TASKS["segmentation"])


@pytest.mark.parametrize("spec", ["pgd:steps=20,eps=0.02", "apgd-ce:steps=20,eps=0.02", "square:queries=60,eps=0.03"])
def test_batches_stay_full_until_the_last_samples(spec: str) -> None:
    model, inputs, labels = model_and_samples()
    watched = Watched(model)
    attack = resolve_attack(spec)
    found = refilled(attack, watched, inputs, labels, batch_size=10, order=list(range(COUNT)))
    assert (~right(model, found, labels)).any()
    full = [size == 10 for size in watched.sizes]
    assert all(full[: full.index(False)])  # a batch of ten, until no sample is left to come
    assert sum(full) > 0.6 * len(full)
    apart = Watched(model)
    for i in range(0, COUNT, 10):
        part = slice(i, i + 10)
        attack.run(apart, inputs[part], labels[part], TASK, classes=6, seeds=seeds_of(COUNT)[part])
    assert len(watched.sizes) < 0.8 * len(apart.sizes)  # fewer calls of the model
    assert sum(watched.sizes) <= sum(apart.sizes)  # for no more samples


def test_late_searches_wait_until_they_are_full() -> None:
    """Few samples get to AutoAttack's last parts: they are collected over the open batches."""
    model, inputs, labels = model_and_samples()
    spec = "autoattack:steps=5,queries=40,eps=0.012"
    watched, apart = Watched(model), Watched(model)
    refilled(resolve_attack(spec), watched, inputs, labels, batch_size=12, order=list(range(COUNT)))
    run(spec, apart, inputs, labels, batch_size=12)
    assert len(watched.sizes) < 0.5 * len(apart.sizes)


def test_results_come_as_soon_as_their_batch_is_done_and_few_batches_are_open() -> None:
    """Reading all data first would need memory for all, and an interruption would lose everything."""
    model, inputs, labels = model_and_samples()
    read = 0

    def batches():
        nonlocal read
        for i in range(0, COUNT, 5):
            read += 1
            yield Batch.untargeted(inputs[i : i + 5], labels[i : i + 5], seeds_of(COUNT)[i : i + 5])

    done = 0
    attack = resolve_attack("apgd-ce:steps=10,eps=0.01")
    for _ in attack.run_refilled(model, batches(), TASK, classes=6, shape=SHAPE, memory=MemoryLimit(5)):
        done += 1
        assert read - done <= 8
    assert done == 18


@pytest.mark.parametrize(
    "spec",
    ["pgd:steps=5,eps=0.02", "apgd-ce:steps=8,eps=0.01", "autoattack:steps=4,queries=9", "apgd-t:steps=4,eps=0.01"],
)
def test_without_memory_a_step_is_redone_on_half_of_the_samples_and_no_verdict_changes(spec: str) -> None:
    model, inputs, labels = model_and_samples()
    attack = resolve_attack(spec)
    expected = run(attack, model, inputs, labels)
    watched, halvings = Watched(model, fits=11), list[int]()
    order = list(range(COUNT))
    found = refilled(
        attack, watched, inputs, labels, batch_size=10, order=order, capacity=40, on_halving=halvings.append
    )
    assert torch.equal(found, expected)
    assert halvings == [20, 10]
    assert [size for size in watched.sizes if size > 11] == [40, 20]


def test_memory_that_runs_out_as_samples_join_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, labels = model_and_samples()
    attack = resolve_attack("pgd:steps=4,eps=0.01,restarts=3")
    expected = run(attack, model, inputs, labels)
    real, halvings = PGD.begin, list[int]()

    def short(self: PGD, batch: Batch, attempts: list[int]) -> Iterates:
        if len(attempts) > 11:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, batch, attempts)

    monkeypatch.setattr(PGD, "begin", short)
    order = list(range(COUNT))
    found = refilled(attack, model, inputs, labels, batch_size=10, order=order, capacity=40, on_halving=halvings.append)
    assert torch.equal(found, expected)
    assert halvings == [20, 10]


@pytest.mark.parametrize("name", ["_results", "_selected"])
def test_memory_that_runs_out_as_results_are_taken_out_loses_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, labels = model_and_samples()
    attack = resolve_attack("autoattack:steps=4,queries=9,eps=0.012")
    expected = run(attack, model, inputs, labels)
    real, calls = getattr(refill_module, name), list[int]()

    def short(*args: object) -> object:
        calls.append(1)
        if len(calls) in (1, 3, 8):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*args)

    monkeypatch.setattr(refill_module, name, short)
    found = refilled(attack, model, inputs, labels, batch_size=32, order=list(range(COUNT)), capacity=64)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_sample_that_does_not_fit_alone_is_an_error() -> None:
    model, inputs, labels = model_and_samples()
    with pytest.raises(torch.OutOfMemoryError):
        refilled(resolve_attack("pgd"), Watched(model, fits=0), inputs, labels, batch_size=4, order=list(range(COUNT)))


def test_no_samples_need_no_passes() -> None:
    model, inputs, labels = model_and_samples()
    assert refilled(resolve_attack("pgd"), model, inputs, labels, batch_size=4, order=[]).shape == inputs.shape
    empty = run("pgd", model, inputs, labels)[:0]
    assert resolve_attack("pgd").run(model, empty, labels[:0], TASK, classes=6, seeds=[]).shape == empty.shape
