"""What a dry run finds: the cost of every phase, and what follows for the whole and for several processes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from stein_bench.attacks.passes import Bounds, Passes

Kind = Literal["start", "clean", "attack", "corruption", "replay", "trial", "checks"]
PROCESSES = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of processes for which a time is given, as far as there are batches for them."""
LEAST_VARIATION = 0.1
"""Relative standard deviation of times from one run to the next, at least; two batches cannot show it."""
CONFIDENCE = 1.645
"""Half width of an interval that holds 90 %, in standard deviations."""


class Span(NamedTuple):
    """Seconds, and an interval that holds them with a probability of about 90 %."""

    seconds: float
    low: float
    high: float


class Estimate(NamedTuple):
    """What an attack costs on all samples, apart from verification; fields are those of `PhaseCost`."""

    seconds: float
    below: float
    above: float
    bounds: Bounds | None
    expected: Passes
    tried: int
    at_least: bool = False


@dataclass(frozen=True)
class PhaseCost:
    """The cost of one phase of one variant.

    Attributes:
        variant: its label; empty for what comes before the variants.
        phase: the label of an attack, of the first of those with the same run, or what else it is.
        title: what the table says.
        kind: what it is.
        seconds: the estimate.
        below, above: how much less or more it may be, with a probability of about 90 %, because only some samples were
            tried; variation of the times themselves comes on top.
        parts: number of equal parts that are dealt to processes: batches; variants, for the checks; 1 if one process
            does it, and the others wait or do the same.
        bounds: the fewest and the most passes per sample, as the report counts them; None if they are not known.
        expected: the expected number.
        tried: number of samples that it was tried on.
        peak_bytes: peak memory; None if it was not measured.
        at_least: whether the attack was cut short and nothing is known about its end, so that the figures are minima.
    """

    variant: str
    phase: str
    title: str
    kind: Kind
    seconds: float
    below: float = 0.0
    above: float = 0.0
    parts: int = 1
    bounds: Bounds | None = None
    expected: Passes | None = None
    tried: int = 0
    peak_bytes: int | None = None
    at_least: bool = False

    def span(self, variation: float) -> Span:
        """Return the seconds with their interval."""
        return total_of([self], variation)


@dataclass(frozen=True)
class DryRun:
    """What an evaluation will cost.

    Attributes:
        model, data: their names.
        samples, batch_size: what is evaluated.
        device: on which this was measured.
        phases: in the order in which they run.
        variation: relative standard deviation of times.
        memory: what the peaks are of.
        seconds: what the dry run itself took.
        notes: what the figures leave out.
    """

    model: str
    data: str
    samples: int
    batch_size: int
    device: str
    phases: tuple[PhaseCost, ...]
    variation: float
    memory: str
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def batches(self) -> int:
        """Number of batches of a phase."""
        return -(-self.samples // self.batch_size)

    @property
    def peak_bytes(self) -> int | None:
        """The largest peak of all phases."""
        return max((phase.peak_bytes for phase in self.phases if phase.peak_bytes is not None), default=None)

    def total(self, processes: int = 1) -> Span:
        """Return the time of the whole run with so many processes, each with a device like this one.

        They share whole batches, so that the one with most of them decides; what is not shared is done once.
        """
        return total_of(self.phases, self.variation, processes)

    def processes(self) -> tuple[int, ...]:
        """Return the numbers of processes worth a line: no more than there are batches."""
        return tuple(number for number in PROCESSES if number <= self.batches)


def total_of(phases: Iterable[PhaseCost], variation: float, processes: int = 1) -> Span:
    """Return the sum of the phases for the process with most of their parts, of so many `processes`.

    Errors of the phases' passes are taken as independent, that of the times as common to all.
    """
    parts = [(phase, math.ceil(phase.parts / processes) / phase.parts) for phase in phases]
    seconds = math.fsum(phase.seconds * part for phase, part in parts)
    common = CONFIDENCE * max(variation, LEAST_VARIATION) * seconds
    below = math.hypot(common, *(phase.below * part for phase, part in parts))
    above = math.hypot(common, *(phase.above * part for phase, part in parts))
    return Span(seconds, max(seconds - below, seconds / 10), seconds + above)


def grand_total(runs: Sequence[DryRun]) -> Span:
    """Return the time of several runs one after the other, whose errors may well be common to all."""
    spans = [run.total() for run in runs]
    return Span(*(math.fsum(values) for values in zip(*spans, strict=True))) if spans else Span(0.0, 0.0, 0.0)
