"""What seeds can show, in words, and the rule of `--until`: its limits, its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stein_bench.errors import UsageError
from stein_bench.reproduction.contrasts import Sought
from stein_bench.reproduction.document import Contrast
from stein_bench.reproduction.pilots import Pilot
from stein_bench.reproduction.planning import (
    COVERAGE,
    FIRST_LOOK,
    Until,
    look_line,
    plan_power,
    power_lines,
    stopping,
    stopping_line,
    until_lines,
    until_rule,
)

MAIN = Sought("standard", "stein", "running", "worst-case", "accuracy", "worst case")


def contrast(seeds, low, high):
    return Contrast.model_validate(
        {
            "kind": "estimator", "against": "sample/running", "seeds": seeds, "mean": (low + high) / 2,
            "sd": (high - low) / 4, "ci95": (low, high), "p": 0.5, "p_adjusted": None,
        }
    )  # fmt: skip


def test_a_pilot_of_three_seeds_leaves_much_open() -> None:
    power = plan_power(MAIN, 10, 1, Pilot(0.023, 3, "small.json"))
    assert power.detectable == pytest.approx(0.023 * 0.996, rel=1e-3)
    assert power.detectable_ci95 == pytest.approx((0.0119, 0.144), rel=0.01)
    (shown, pilot) = power_lines(power)
    assert shown == (
        "with 10 seeds a true difference of 2.3 points (1.2 to 14, from the 95 % interval of the sd) is detected with "
        "80 % power; the 95 % interval will be about 3.2 points wide"
    )
    assert pilot == "the pilot, 3 seeds of small.json, gives an sd of the differences of 2.3 points (1.2 to 14)"
    assert power.first_level is None


def test_several_registered_contrasts_share_the_level() -> None:
    power = plan_power(MAIN, 10, 3, Pilot(0.01, 5, "small.json"))
    assert power.first_level == pytest.approx(0.05 / 3)
    assert power.first_detectable == pytest.approx(0.01223, rel=1e-3)
    assert "one of 1.2 points at the first step of Holm's correction over 3 registered contrasts" in next(
        power_lines(power)
    )


def test_without_a_pilot_differences_are_in_standard_deviations() -> None:
    power = plan_power(MAIN, 10, 1, None)
    assert (power.sd, power.detectable, power.pilot) == (None, None, None)
    assert list(power_lines(power)) == [
        "with 10 seeds a true difference of 1.0 sd is detected with 80 % power; the 95 % interval will be about 1.4 sd "
        "wide. The sd is that of the differences between seeds, which no pilot tells"
    ]
    assert list(power_lines(plan_power(MAIN, 1, 1, None))) == [
        "one seed shows no difference: there is no interval and no test"
    ]


def test_how_many_seeds_a_width_takes_is_told() -> None:
    power = plan_power(MAIN, 5, 1, Pilot(0.02, 5, "small.json"))
    (line,) = until_lines(Until(0.03, 30), power)
    assert line == (
        "asked for a 95 % interval of less than 3 points, with 30 seeds at most; "
        "at this sd it takes about 9 seeds (5 to 59)"
    )


@pytest.mark.parametrize(
    ("width", "most", "seeds", "message"),
    [
        (0, None, 5, "--until 0: the width"),
        (-2, None, 5, "--until -2"),
        (float("nan"), None, 5, "--until nan"),
        (201, None, 5, "--until 201"),
        (3, 4, 5, "--max-seeds 4: from 5"),
        (3, 4, 2, "--max-seeds 4: from 5"),
        (3, 1001, 5, "--max-seeds 1001: from 5 to 1000"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(width, most, seeds, message) -> None:
    with pytest.raises(UsageError, match=message):
        until_rule(width, most, seeds)


def test_the_cap_is_30_or_the_seeds_that_there_are() -> None:
    assert until_rule(3, None, 5) == Until(0.03, 30)
    assert until_rule(3, None, 40).most == 40
    assert until_rule(2.5, 8, 5) == Until(0.025, 8)


def test_a_narrow_interval_of_too_few_seeds_ends_nothing() -> None:
    rule = Until(0.03, 30)
    assert not rule.met(contrast(FIRST_LOOK - 1, 0.0, 0.01))
    assert "judged from 5 seeds on; adding seed 4" in look_line(rule, contrast(4, 0.0, 0.01), 4, 4)
    assert rule.met(contrast(FIRST_LOOK, 0.0, 0.01))
    assert not rule.met(contrast(9, 0.0, 0.03))
    assert not rule.met(None)
    line = look_line(rule, contrast(9, 0.0, 0.041), 9, 9)
    assert line.startswith("interval of the main contrast after 9 seeds: 4.10 points wide, asked for 3; adding seed 9")


def test_how_it_ended_is_told_with_the_true_coverage() -> None:
    rule = Until(0.03, 12)
    narrow = stopping(rule, contrast(9, 0.0, 0.029), 5)
    assert (narrow.stopped_by, narrow.reached) == ("width", 0.029)
    assert (
        "Over all runs of this rule, those that reach the cap included, at least 92 % of the intervals, not 95 %"
        in stopping_line(narrow, 9)
    )
    assert "at least 93 %" in stopping_line(stopping(rule, contrast(12, 0.0, 0.02), 10), 12)
    capped = stopping(rule, contrast(12, 0.0, 0.05), 5)
    assert capped.stopped_by == "most-seeds"
    assert "not as narrow as asked: the cap on seeds was reached" in stopping_line(capped, 12)
    assert "no seed has a result" in stopping_line(stopping(rule, None, 5), 5)


def simulated(start: int, ratio: float, experiments: int, most: int) -> tuple[NDArray, NDArray, NDArray]:
    """Simulate the rule on normal differences with mean 0 and sd 1.

    Returns:
        by run: whether the width ended it, the mean difference found, whether the interval covers 0.

    Args:
        start: number of seeds at the start.
        ratio: width asked for, in true sd.
        experiments: how many are simulated.
        most: the cap on seeds.
    """
    differences = np.random.default_rng(start).standard_normal((experiments, most))
    n = np.arange(1, most + 1)
    means = differences.cumsum(axis=1) / n
    squares = (differences**2).cumsum(axis=1) - n * means**2
    halves = np.full_like(means, np.inf)
    halves[:, 1:] = stats.t.ppf(0.975, n[1:] - 1) * np.sqrt(squares[:, 1:] / (n[1:] - 1) / n[1:])
    enough = (2 * halves < ratio) & (n >= max(start, FIRST_LOOK))
    ended = np.where(enough.any(axis=1), enough.argmax(axis=1), most - 1)
    at = np.arange(experiments), ended
    return enough.any(axis=1), means[at], np.abs(means[at]) < halves[at]


def coverage(start: int, ratio: float) -> tuple[float, float]:
    """Return the coverage of the rule over all runs, and the mean difference found."""
    _, means, covers = simulated(start, ratio, 8000, 60)
    return float(covers.mean()), float(means.mean())


@pytest.mark.parametrize(
    ("ratio", "ended", "told"), [(1 / 1.4, 0.46, 0.88), (1 / 1.6, 0.16, 0.83), (1 / 1.8, 0.045, 0.74)]
)
def test_runs_that_end_early_for_their_true_sd_cover_less(ratio: float, ended: float, told: float) -> None:
    """The figures of docs/reproduction.md, with a cap of 30 seeds."""
    narrow, _, covers = simulated(5, ratio, 30_000, 30)
    assert narrow.mean() == pytest.approx(ended, abs=0.012)
    assert covers[narrow].mean() == pytest.approx(told, abs=0.03)
    assert covers.mean() > 0.92


@pytest.mark.parametrize(("start", "promised"), COVERAGE)
def test_the_coverage_that_is_told_is_that_of_simulated_runs(start: int, promised: int) -> None:
    """At the worst of several true sd, within three standard errors; the promise is rounded down to whole percent."""
    found = [coverage(start, ratio) for ratio in (0.7, 0.85, 1.0, 1.2, 1.6)]
    worst = min(share for share, _ in found)
    assert promised / 100 - 0.009 < worst < promised / 100 + 0.016
    assert all(abs(mean) < 0.02 for _, mean in found)


def test_two_or_three_seeds_at_the_start_cover_no_less_than_the_first_look() -> None:
    assert coverage(2, 1.0)[0] == pytest.approx(coverage(FIRST_LOOK, 1.0)[0], abs=0.012)
