"""What an experiment's seeds can show, said before they are run, and when `--until` has enough of them. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stein_bench.errors import UsageError
from stein_bench.reproduction.contrasts import Sought
from stein_bench.reproduction.document import Contrast, Power, Stopping
from stein_bench.reproduction.pilots import Pilot
from stein_bench.reproduction.replicates import (
    LEVEL,
    MOST_SEEDS,
    POWER,
    detectable_effect,
    expected_width,
    sd_interval,
    seeds_for_width,
)

FIRST_LOOK = 5
"""Seeds before which no interval ends a run: an sd of fewer is often far too small by chance."""
DEFAULT_MOST = 30
"""The cap of `--until`, unless the experiment has more seeds from the start."""
COVERAGE = ((20, 94), (10, 93), (5, 92))
"""Of the intervals of `--until`, from how many seeds at the start: at least so many percent cover the true difference.

This is over all runs, however they end. Nominal are 95: a run also stops when its sd is too small by chance. Coverage
is lower among runs that stopped early for their true sd, which nobody knows. From a simulation of normal differences at
the least favorable true sd, see `tests/reproduction/test_planning.py`.
"""


@dataclass(frozen=True)
class Until:
    """The rule of `--until`: add seeds until the 95 % interval of the main contrast is narrower than `width`.

    Attributes:
        width: full width, as a share.
        most: the cap on seeds.
    """

    width: float
    most: int

    def met(self, found: Contrast | None) -> bool:
        """Return whether a result of the main contrast is narrow enough, over seeds enough to judge it."""
        reached = width_of(found)
        return reached is not None and found is not None and found.seeds >= FIRST_LOOK and reached < self.width


def until_rule(width: float, most: int | None, seeds: int) -> Until:
    """Check the options of `--until`.

    Args:
        width: in percentage points.
        most: the cap, None for the default.
        seeds: with which the run starts.

    Raises:
        UsageError: the width is not above 0, or the cap leaves no room.
    """
    if not 0 < width <= 200:
        raise UsageError(f"--until {width:g}: the width of an interval is in percentage points, above 0, e.g. 3.")
    least = max(FIRST_LOOK, seeds)
    if most is not None and not least <= most <= MOST_SEEDS:
        raise UsageError(
            f"--max-seeds {most}: from {least} to {MOST_SEEDS}. The run starts with {seeds}, and no interval of fewer "
            f"than {FIRST_LOOK} ends it."
        )
    return Until(width / 100, max(DEFAULT_MOST, seeds) if most is None else most)


def width_of(found: Contrast | None) -> float | None:
    """Return the full width of a contrast's interval, None without an interval."""
    return None if found is None or found.ci95 is None else found.ci95[1] - found.ci95[0]


def plan_power(contrast: Sought, seeds: int, registered: int, pilot: Pilot | None) -> Power:
    """Return what difference of the main contrast `seeds` can show, given a pilot if there is one.

    Args:
        contrast: the main contrast.
        seeds: the number of seeds.
        registered: how many contrasts are registered; several share the level by Holm's procedure.
        pilot: where the sd of the differences is from.
    """
    effect = detectable_effect(seeds)
    first = LEVEL / registered if registered > 1 else None
    first_effect = None if first is None else detectable_effect(seeds, first)
    sd = None if pilot is None else pilot.sd
    limits = None if pilot is None else sd_interval(pilot.sd, pilot.seeds)
    return Power(
        part=contrast.part, bn=contrast.bn, stats=contrast.stats, outcome=contrast.outcome, metric=contrast.metric,
        against=contrast.reference, seeds=seeds, power=POWER, level=LEVEL, effect=effect,
        sd=sd, sd_ci95=limits,
        pilot=None if pilot is None else pilot.origin,
        pilot_seeds=None if pilot is None else pilot.seeds,
        detectable=None if sd is None or effect is None else effect * sd,
        detectable_ci95=None if limits is None or effect is None else (effect * limits[0], effect * limits[1]),
        first_level=first,
        first_detectable=None if sd is None or first_effect is None else first_effect * sd,
    )  # fmt: skip


def power_lines(power: Power) -> Iterator[str]:
    """Yield in words what the seeds can show, and from which pilot that is known."""
    if power.effect is None:
        yield "one seed shows no difference: there is no interval and no test"
        return
    sd = power.sd
    by_sd = f"{power.effect:.1f} sd" if sd is None else f"{points(power.effect * sd)} points"
    if power.detectable_ci95 is not None:
        by_sd += f" ({_between(power.detectable_ci95)}, from the 95 % interval of the sd)"
    line = f"with {power.seeds} seeds a true difference of {by_sd} is detected with {100 * power.power:.0f} % power"
    if power.first_level is not None and (first := detectable_effect(power.seeds, power.first_level)) is not None:
        count = round(power.level / power.first_level)
        size = f"{first:.1f} sd" if sd is None else f"{points(first * sd)} points"
        line += f", one of {size} at the first step of Holm's correction over {count} registered contrasts"
    if sd is None or power.sd_ci95 is None:
        width = expected_width(power.seeds, 1.0)
        yield (
            f"{line}; the 95 % interval will be about {width:.1f} sd wide. The sd is that of the differences between "
            "seeds, which no pilot tells"
        )
        return
    yield f"{line}; the 95 % interval will be about {points(expected_width(power.seeds, sd))} points wide"
    yield (
        f"the pilot, {power.pilot_seeds} seeds of {power.pilot}, gives an sd of the differences of {points(sd)} points "
        f"({_between(power.sd_ci95)})"
    )


def until_lines(until: Until, power: Power) -> Iterator[str]:
    """Yield in words how many seeds the width asked for will take."""
    text = f"asked for a 95 % interval of less than {points(until.width)} points, with {until.most} seeds at most"
    if power.sd is None or power.sd_ci95 is None:
        yield text
        return
    needed, low, high = (seeds_for_width(until.width, sd) for sd in (power.sd, *power.sd_ci95))
    yield f"{text}; at this sd it takes about {_count(needed)} seeds ({_count(low)} to {_count(high)})"


def look_line(until: Until, found: Contrast | None, seeds: int, next_seed: int) -> str:
    """Return the note that another seed is added, and why.

    Args:
        until: the rule.
        found: the main contrast so far.
        seeds: how many seeds have been run.
        next_seed: the one that is added.
    """
    reached = width_of(found)
    state = "there is none" if reached is None else f"{100 * reached:.2f} points wide"
    if reached is not None and reached < until.width:
        asked = f"judged from {FIRST_LOOK} seeds on"
    else:
        asked = f"asked for {points(until.width)}"
    line = f"interval of the main contrast after {seeds} seeds: {state}, {asked}; adding seed {next_seed}"
    if found is None or not found.sd or reached is None or reached < until.width:
        return line
    expected = seeds_for_width(until.width, found.sd)
    needed = None if expected is None else max(expected, seeds + 1, FIRST_LOOK)
    return f"{line} (at this sd it takes about {_count(needed)}, {until.most} at most)"


def stopping(until: Until, found: Contrast | None, first: int) -> Stopping:
    """Return how the run ended."""
    why = "width" if until.met(found) else "no-result" if found is None else "most-seeds"
    return Stopping.model_validate(
        {
            "width": until.width, "reached": width_of(found), "first_seeds": first, "most_seeds": until.most,
            "stopped_by": why,
        }
    )  # fmt: skip


def stopping_line(ended: Stopping, seeds: int) -> str:
    """Return in words how the run ended, and what that means for the interval.

    Args:
        ended: how it ended.
        seeds: how many seeds it has.
    """
    asked = f"--until {points(ended.width)}"
    reached = "has no interval" if ended.reached is None else f"has an interval {100 * ended.reached:.2f} points wide"
    if ended.stopped_by != "width":
        cap = "no seed has a result" if ended.stopped_by == "no-result" else "the cap on seeds was reached"
        return f"{asked}: after {seeds} seeds the main contrast {reached}, not as narrow as asked: {cap}"
    start = max(FIRST_LOOK, ended.first_seeds)
    coverage = next(percent for least, percent in COVERAGE if start >= least)
    return (
        f"{asked}: after {seeds} seeds the main contrast {reached}. The width alone ended the run, so that the mean "
        f"difference is unbiased; but a width is also small by chance. Over all runs of this rule, those that reach "
        f"the cap included, at least {coverage} % of the intervals, not 95 %, cover the true difference, and p is "
        f"below {LEVEL:g} in up to {100 - coverage} % where there is none; fewer cover it in runs that stop far "
        "earlier than their true sd would lead one to expect"
    )


def points(share: float) -> str:
    """Write a share in percentage points, with one decimal below 10 and two figures below 1.

    >>> points(0.14), points(0.023), points(0.0042), points(0.03)
    ('14', '2.3', '0.42', '3')
    """
    value = 100 * share
    text = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"
    return text.removesuffix(".0")


def _between(limits: tuple[float, float]) -> str:
    return f"{points(limits[0])} to {points(limits[1])}"


def _count(seeds: int | None) -> str:
    return f"more than {MOST_SEEDS}" if seeds is None else str(seeds)
