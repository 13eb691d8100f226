"""The parts of a dry run: lines through times, how many samples get how far, sums for several processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.native import NATIVE_ATTACKS, Searches
from stein_bench.attacks.passes import Passes, Situation, bounds, call_of
from stein_bench.attacks.refill import Taken
from stein_bench.evaluation.costs.course import Course, Steps, Survival, seconds_of
from stein_bench.evaluation.costs.lines import NOTHING, Line, line_through
from stein_bench.evaluation.costs.recorder import CutShort, Deadline, Known, Recorder
from stein_bench.evaluation.costs.results import DryRun, PhaseCost, grand_total
from stein_bench.evaluation.costs.tries import spread
from stein_bench.evaluation.costs.whole_batches import Ended, reached_attempts
from stein_bench.tasks import TASKS

SITUATION = Situation(TASKS["classification"], 10, (3, 8, 8))


def course(spec: str) -> Course:
    attack = resolve_attack(spec)
    found = NATIVE_ATTACKS[attack.info.method](call_of(attack, SITUATION))
    assert isinstance(found, Searches)
    return Course.of(found.searches)


def test_a_line_goes_through_two_times_and_never_falls() -> None:
    assert line_through([(10, 3.0), (110, 8.0)]) == pytest.approx((2.5, 0.05))
    assert line_through([(10, 3.0), (110, 2.0)]) == (2.0, 0.0)
    assert line_through([(4, 0.1), (100, 5.0)]) == (0.0, 0.05)  # not below zero without samples
    assert line_through([(50, 2.0)]) == (0.0, 0.04)


@pytest.mark.parametrize("spec", ["pgd:restarts=3,steps=4", "apgd-t:steps=6", "autoattack:steps=5,queries=20"])
def test_a_course_holds_the_passes_of_a_survivor(spec: str) -> None:
    found, attack = course(spec), resolve_attack(spec)
    limits = bounds(attack, SITUATION)
    assert limits is not None
    aiming = 0 if spec.startswith("pgd") else 1
    assert found.passes(np.ones(len(found))).plus((aiming, 0)) == limits.most


def test_steps_have_their_places_in_the_course() -> None:
    found = course("pgd:restarts=2,steps=4")
    assert len(found) == 4 + 1 + 4  # an attempt that another one follows evaluates its last point
    assert found.position(Taken(0, 1, 2, 5)) == 7


def test_survival_is_that_of_the_samples_tried() -> None:
    found = Survival(course("pgd:steps=4"))
    found.add(10, np.array([10.0, 6, 3, 3]), 4)
    assert found.alive() == pytest.approx([1, 0.6, 0.3, 0.3])
    found.add(10, np.array([10.0, 10, 5, 1]), 4)
    assert found.alive() == pytest.approx([1, 0.8, 0.4, 0.2])


def test_samples_that_were_cut_short_go_on_in_the_estimate() -> None:
    found = Survival(course("pgd:steps=40"))
    alive = np.zeros(40)
    alive[:10] = [100, 60, 50, 50, 50, 50, 50, 48, 48, 46]
    found.add(100, alive, 10)
    assert found.cut == 46
    low, high = found.bounds(1000)
    assert high[-1] == high[9] == pytest.approx(0.46)
    assert high[-1] > found.alive()[-1] > low[-1] > 0


def test_survivors_that_were_not_seen_may_still_be_among_the_others() -> None:
    found = Survival(course("pgd:steps=4"))
    found.add(20, np.array([20.0, 2, 0, 0]), 4)
    assert found.alive()[-1] == 0
    low, high = found.bounds(1000)
    assert low[-1] == 0
    assert 1 - (1 - high[-1]) ** 20 == pytest.approx(0.9, abs=0.01)
    assert found.bounds(20)[1][-1] == 0  # there are no others


def test_more_samples_make_the_estimate_more_certain() -> None:
    few, many = Survival(course("pgd:steps=4")), Survival(course("pgd:steps=4"))
    few.add(10, np.array([10.0, 5, 5, 5]), 4)
    many.add(1000, np.array([1000.0, 500, 500, 500]), 4)
    assert few.deviation(10**6) == pytest.approx(10 * many.deviation(10**6), rel=1e-3)
    assert many.deviation(1000) == 0


def test_a_batch_makes_a_step_as_long_as_one_of_its_samples_is_left() -> None:
    found, steps = course("pgd:steps=4"), [Steps(Line(1.0, 0.0), NOTHING)]
    alive = np.array([1.0, 0.1, 0.0, 0.0])
    calls = seconds_of(found, alive, steps, 100, 10, refill=False)
    assert calls == pytest.approx(10 * (1 + 1 - 0.9**10))
    assert seconds_of(found, alive, steps, 100, 10, refill=True) == pytest.approx(10 * 1.1)
    samples = [Steps(Line(0.0, 1.0), Line(0.0, 2.0))]
    assert seconds_of(found, alive, samples, 100, 10, refill=False) == pytest.approx(110 + 200)


def test_batches_that_were_cut_short_say_nothing_about_the_attempt_they_were_in() -> None:
    broken = Ended(2, broken=True)
    assert reached_attempts([broken, Ended(2, cut=True)], 4) == [1, 1, 0, 0]
    assert reached_attempts([broken, Ended(4)], 4) == [1, 1, 0.5, 0.5]
    assert reached_attempts([Ended(2, cut=True)], 4) == [1, 1, 1, 1]
    assert reached_attempts([Ended(1, broken=True), Ended(3, broken=True), Ended(4)], 4) == pytest.approx(
        [1, 2 / 3, 2 / 3, 1 / 3]
    )


def test_tried_samples_are_spread_over_the_data() -> None:
    order = spread(1000)
    assert sorted(order) == list(range(1000))
    for count in (8, 32, 100):
        gaps = np.diff(sorted(order[:count]))
        assert gaps.max() <= 4 * 1000 / count


def test_a_recorder_counts_and_ends() -> None:
    model = torch.nn.Linear(3, 2)
    recorder = Recorder(model)
    recorder(torch.zeros(4, 3, requires_grad=True)).sum().backward()
    assert (recorder.calls, recorder.forward_passes, recorder.backward_passes, recorder.last) == (1, 4, 4, 4)
    with pytest.raises(CutShort):
        Recorder(model, Deadline(-1))(torch.zeros(1, 3))
    with pytest.raises(Known):
        Recorder(model, ended=lambda outputs: len(outputs) == 1)(torch.zeros(1, 3))


def phase(seconds: float, parts: int = 10, below: float = 0.0, above: float = 0.0) -> PhaseCost:
    return PhaseCost("sample/running", "x", "x", "attack", seconds, below, above, parts=parts)


def dry_run(*phases: PhaseCost) -> DryRun:
    return DryRun("net", "digits", 95, 10, "cpu", phases, 0.0, "resident set", 1.0)


def test_processes_share_whole_batches_and_wait_for_the_rest() -> None:
    run = dry_run(phase(100.0), phase(7.0, parts=1))
    assert run.batches == 10
    assert [run.total(number).seconds for number in (1, 2, 4, 8)] == pytest.approx([107, 57, 37, 27])
    assert run.processes() == (1, 2, 4, 8)


def test_an_interval_holds_the_estimate_and_grows_with_what_is_not_known() -> None:
    sure, unsure = dry_run(phase(100.0)).total(), dry_run(phase(100.0, below=30.0, above=80.0)).total()
    assert sure.low < 100 < sure.high
    assert unsure.low < sure.low
    assert unsure.high > 180
    assert grand_total([dry_run(phase(100.0)), dry_run(phase(50.0))]).seconds == pytest.approx(150)
    assert grand_total([]).seconds == 0


def test_passes_add_up() -> None:
    assert Passes(1, 2).plus((3, 1), 2) == Passes(7, 4)
    assert Passes(1, 2).total == 3
