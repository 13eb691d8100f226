"""The time left of a run: from what is finished, in the batches of this process, and never without a measurement."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stein_bench.config import make_config
from stein_bench.evaluation.remaining import Remaining
from stein_bench.evaluation.run import run_evaluation
from stein_bench.evaluation.startup import Started, start
from stein_bench.evaluation.units import CLEAN, Unit
from stein_bench.progress import Left, Silent

VARIANT = "sample/running"


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("stein_bench.evaluation.remaining.time", clock)
    return clock


def started(model: str, data: str, **options: Any) -> Started:
    settings = {"model": model, "data": data, "eps": "12/255", "weights": "none", "batch_size": 20, **options}
    return start(make_config(settings), Silent())


def unit(phase: str, batch: int, forward: int = 20, backward: int = 0, size: int = 20) -> Unit:
    indices = np.arange(batch * size, (batch + 1) * size)
    return Unit(VARIANT, phase, batch, indices, forward_passes=forward, backward_passes=backward)


def made(remaining: Remaining, clock: Clock, found: Unit, seconds: float) -> None:
    remaining.begin()
    clock.now += seconds
    remaining.add(found)


def test_nothing_is_said_before_anything_was_measured(model: str, data: str, clock: Clock) -> None:
    run = started(model, data)
    assert Remaining(run.plan, run.setting).left() is None


def test_the_time_left_follows_the_passes_and_the_time_of_one(model: str, data: str, clock: Clock) -> None:
    run = started(model, data, attack=["fgsm"])
    remaining = Remaining(run.plan, run.setting)
    for batch in range(3):
        made(remaining, clock, unit(CLEAN, batch), 2.0)  # a tenth of a second per pass
    remaining.end(VARIANT, CLEAN)
    first = remaining.left()
    assert first is not None
    checks = 60 * (30 + 12 + 61 + 44) / 2 * 0.1
    assert first.seconds == pytest.approx(60 * 2 * 0.1 + checks)
    assert first.low < first.seconds < first.high
    fgsm = run.plan.attacks[0].label
    made(remaining, clock, unit(fgsm, 0, 20, 20), 30.0)  # slower than thought
    second = remaining.left()
    assert second is not None
    assert second.seconds > first.seconds
    for batch in (1, 2):
        made(remaining, clock, unit(fgsm, batch, 20, 20), 30.0)
    remaining.end(VARIANT, fgsm)
    remaining.begin()
    clock.now += 50.0
    remaining.checked(VARIANT)
    assert remaining.left() is None


def test_survivors_are_taken_to_cost_more(model: str, data: str, clock: Clock) -> None:
    run = started(model, data, attack=["pgd"])
    found = []
    for share in (1.0, 0.1):
        remaining = Remaining(run.plan, run.setting)
        made(remaining, clock, unit(CLEAN, 0), 2.0)
        remaining.survived(VARIANT, share)
        left = remaining.left()
        assert left is not None
        found.append(left.seconds)
    assert found[0] > found[1]


def test_finished_units_are_not_paid_again(model: str, data: str, clock: Clock) -> None:
    run = started(model, data, attack=["fgsm"])
    fgsm = run.plan.attacks[0].label
    known = [*(unit(CLEAN, batch) for batch in range(3)), unit(fgsm, 0), unit(fgsm, 1)]
    lefts = []
    for units in ([], known):
        remaining = Remaining(run.plan, run.setting, units)
        made(remaining, clock, unit(fgsm, 2, 20, 20), 4.0)
        left = remaining.left()
        assert left is not None
        lefts.append(left.seconds)
    # Without the known units, two batches of fgsm and the clean pass are left as well.
    assert lefts[0] - lefts[1] == pytest.approx(2 * 4.0 + 60 * 0.1)


def test_a_process_counts_its_own_batches(model: str, data: str, clock: Clock) -> None:
    run, lefts = started(model, data, attack=["fgsm"]), []
    for rank, ranks in ((0, 1), (1, 2)):
        setting = replace(run.setting, rank=rank, ranks=ranks)
        remaining = Remaining(run.plan, setting)
        made(remaining, clock, unit(CLEAN, 1), 2.0)
        left = remaining.left()
        assert left is not None
        lefts.append(left.seconds)
    # The second process has one of three batches, and no variant to check.
    assert lefts[1] == pytest.approx(20 * 2 * 0.1)
    assert lefts[0] > 60 * 2 * 0.1 + 40 * 0.1


def test_attacks_whose_passes_are_not_known_leave_it_open(model: str, data: str, clock: Clock) -> None:
    run = started(model, data, attack=["torchattacks.VMIFGSM"])
    remaining = Remaining(run.plan, run.setting)
    made(remaining, clock, unit(CLEAN, 0), 2.0)
    assert remaining.left() is None
    made(remaining, clock, unit(run.plan.attacks[0].label, 0, 1000, 1000), 20.0)
    assert remaining.left() is not None


def test_a_run_shows_its_time_left_until_nothing_is(model: str, data: str) -> None:
    class Watching(Silent):
        def __init__(self) -> None:
            self.lefts: list[Left | None] = []

        def left(self, left: Left | None) -> None:
            self.lefts.append(left)

    shown = Watching()
    settings = {"model": model, "data": data, "weights": "none", "attack": ["fgsm", "pgd"], "batch_size": 20}
    run_evaluation(make_config({**settings, "stats": ["running", "batch"]}), progress=shown)
    numbers = [left for left in shown.lefts if left is not None]
    assert len(numbers) > 10
    assert all(0 < left.low <= left.seconds <= left.high for left in numbers)
    assert shown.lefts[-1] is None
