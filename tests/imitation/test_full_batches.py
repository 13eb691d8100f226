"""The imitated device is kept full and its memory is respected: refilled batches, out of memory, batch sizes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stein_bench.attacks import starts
from stein_bench.attacks.search import Batch
from stein_bench.config import make_config
from stein_bench.data.samples import Samples
from stein_bench.errors import RunError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.preparation.plan import prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.progress import Silent
from stein_bench.report.document import Report
from tests.imitation import Device
from tests.imitation.compare import assert_complete, evaluate
from tests.imitation.problems import write_problem

ATTACKS = [
    "pgd",
    "mifgsm:steps=5",
    "apgd-t:steps=4",
    "fab-t:steps=3",
    "square:queries=20",
    "autoattack:steps=3,queries=9",
]
COUNT = 40


@pytest.fixture
def problem(tmp_path: Path) -> dict[str, Any]:
    return {**write_problem(tmp_path, count=COUNT), "eps": "10/255"}


class Notes(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def outcomes(report: Report) -> list[Any]:
    assert_complete(report)
    return [variant.outcomes for variant in report.variants]


def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the sizes of the batches that networks get on the device."""
    found: list[int] = []
    forward = Preprocessed.forward

    def watched(self: Preprocessed, x: Tensor) -> Tensor:
        if x.is_cuda:
            found.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Preprocessed, "forward", watched)
    return found


@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_verdicts_do_not_depend_on_refilling_or_the_batch_size(problem: dict[str, Any], imitation_cuda: Device) -> None:
    expected = evaluate("cuda", **problem, attack=ATTACKS, batch_size=COUNT, refill=False)
    assert outcomes(expected) == outcomes(evaluate("cpu", **problem, attack=ATTACKS))
    robust = [attack.robust_accuracy for attack in expected.variants[0].attacks]
    assert all(0 < share < 1 for share in robust if share is not None)
    for size in (7, 64):
        assert outcomes(evaluate("cuda", **problem, attack=ATTACKS, batch_size=size)) == outcomes(expected)
    assert not imitation_cuda.mixes


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "attack", ["pgd:steps=20", pytest.param("autoattack:steps=6,queries=30", marks=pytest.mark.slow)]
)
def test_a_refilled_run_takes_fewer_calls_on_the_same_samples(
    problem: dict[str, Any], attack: str, imitation_cuda: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sizes(monkeypatch)
    problem["eps"] = "13/255"
    runs = {}
    for refill in (False, True):
        found.clear()
        report = evaluate("cuda", **problem, attack=[attack], batch_size=8, refill=refill)
        runs[refill] = list(found), report.variants[0].attacks[0]
    (apart, plain), (together, refilled) = runs[False], runs[True]
    assert len(together) < len(apart)
    assert plain.forward_passes == refilled.forward_passes
    assert plain.backward_passes == refilled.backward_passes


@pytest.mark.usefixtures("unchecked")
def test_random_starts_are_drawn_by_another_thread_and_are_the_same(
    problem: dict[str, Any], imitation_cuda: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, threads = starts.random_start, list[str]()

    def watched(*args: Any) -> Tensor:
        threads.append(threading.current_thread().name)
        return real(*args)

    monkeypatch.setattr(starts, "random_start", watched)
    evaluate("cuda", **problem, attack=["pgd:restarts=2"], batch_size=8)
    first = [name for name in threads if name.startswith("stein-bench-starts")]
    assert len(first) == COUNT / 8
    assert len(threads) > len(first)  # second attempts, of the samples that survive the first
    drawn = starts.RandomStarts("Linf", 0.1)
    seeds = [5, 6, 7]
    batch = Batch.untargeted(torch.zeros(3, 2, 2).cuda(), torch.zeros(3, dtype=torch.long).cuda(), seeds)
    drawn.prefetch(batch)
    mixed = drawn(batch.select([2, 0, 1]), [0, 1, 0]).cpu()
    assert torch.equal(mixed, real((3, 2, 2), [7, 5, 6], "Linf", 0.1, [0, 1, 0]))


@pytest.mark.slow
@pytest.mark.parametrize("refill", [False, True])
def test_out_of_memory_halves_the_batch_and_changes_no_verdict(
    problem: dict[str, Any], refill: bool, imitation_cuda: Device
) -> None:
    options = {
        **problem,
        "attack": ["pgd", "autoattack:steps=3,queries=9", "noise-gaussian"],
        "batch_size": 16,
    }
    expected = evaluate("cuda", **options, refill=refill)
    imitation_cuda.limit_samples(9)
    notes = Notes()
    report = run_evaluation(make_config({**options, "refill": refill, "device": "cuda"}), progress=notes)
    assert outcomes(report) == outcomes(expected)
    halved = [note for note in notes.notes if "out of memory" in note]
    assert halved == ["out of memory: continuing with at most 8 samples at once, on which no verdict depends"]


@pytest.mark.parametrize(
    ("refill", "parts"),
    [(False, 3), pytest.param(False, 12, marks=pytest.mark.slow), pytest.param(True, 12, marks=pytest.mark.slow)],
)
def test_out_of_memory_at_any_call_loses_nothing(
    problem: dict[str, Any], refill: bool, parts: int, imitation_cuda: Device
) -> None:
    options = {**problem, "attack": ["pgd:steps=4", "apgd-t:steps=3,targets=2"], "batch_size": 10, "refill": refill}
    imitation_cuda.reset()
    expected = outcomes(evaluate("cuda", **options))
    calls = imitation_cuda.calls
    for number in range(4, calls, max(calls // parts, 1)):
        imitation_cuda.fail_at(number)
        assert outcomes(evaluate("cuda", **options)) == expected, number


@pytest.mark.integration
def test_a_whole_batch_without_memory_ends_the_run_clearly(problem: dict[str, Any], imitation_cuda: Device) -> None:
    imitation_cuda.limit_samples(9)
    with pytest.raises(RunError, match=r"sample/batch, clean: out of memory\. Under batch statistics the batch is "):
        evaluate("cuda", **problem, attack=["pgd"], stats="batch", batch_size=16)
    assert_complete(evaluate("cuda", **problem, attack=["pgd"], stats="batch", batch_size=8))


@pytest.mark.parametrize("total", [3, 40])
def test_the_automatic_batch_size_fits_and_wastes_little(
    problem: dict[str, Any], total: int, imitation_cuda: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a memory of so many MB, for APGD, which keeps most, on a batch that must not be split."""
    settings = {**problem, "attack": ["apgd-ce:steps=3"], "batch_size": "auto", "device": "cuda", "refill": False}
    plan = prepare(make_config(settings))
    network = build_untrained(plan)
    imitation_cuda.limit_bytes(total * 10**6)
    monkeypatch.setattr(Samples, "__len__", lambda _: 10**6)  # as many as would not fit
    size = plan.batch_size(network)
    model = plan.wrap(network).requires_grad_(False)
    attack = plan.attacks[0]

    def fits(count: int) -> bool:
        try:
            inputs = torch.full((count, *plan.samples.shape), 0.5).cuda()
            labels = torch.zeros(count, dtype=torch.long).cuda()
            attack.run(model, inputs, labels, plan.task, classes=4, seeds=[0] * count, batch_dependent=True)
        except torch.OutOfMemoryError:
            return False
        return True

    assert fits(size)
    assert not fits(int(1.5 * size) + 1), size
