"""Settings of a simulation: typed, frozen, validated. This module does not import torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stein_bench.errors import UsageError
from stein_bench.normalization.names import parse_estimator
from stein_bench.specs import parse_numbers
from stein_bench.theory.names import CONTAMINATIONS, DEFAULT_ESTIMATORS, contamination, risk_estimator

LARGEST_CHANNELS = 2**16
LARGEST_BATCH = 2**25
"""Elements of a batch (C·N) that are held in memory at once, where they have to be drawn one by one."""
FEWEST_DRAWS = 40
"""Of a setting: with less, no interval can be trusted."""
MOMENTS_PER_DRAW = 100
ELEMENTS_PER_DRAW = 2**14


@dataclass(frozen=True)
class Population:
    """The true moments of the channels, in units of the standard deviation σ that channels have without a spread.

    Attributes:
        spread: standard deviation over channels of their means, ≥ 0.
        offset: what all means have in common.
        variance_spread: standard deviation over channels of the logarithm of their variances, whose mean is 1.
    """

    spread: float = 0.0
    offset: float = 0.0
    variance_spread: float = 0.0


@dataclass(frozen=True)
class RiskSettings:
    """A grid of settings, and how well to simulate each.

    Attributes:
        channels, elements: C, and N ≥ 2 elements per channel.
        spreads: of the true means, in σ (see `Population`).
        contaminations: keys of `CONTAMINATIONS`.
        estimators: names, canonical; the sample estimators are what they are compared with.
        strength: of the contamination, in σ: its standard deviation, or the scale·√2 of the Cauchy noise.
        offset, variance_spread: see `Population`.
        draws: batches simulated per setting; fewer where C or N is large, see `draws_of`.
        seed: of everything random.

    Raises:
        UsageError: a value is out of range or given twice; the message names the option.
    """

    channels: tuple[int, ...] = (3, 16, 64, 512)
    elements: tuple[int, ...] = (2, 16, 256, 4096)
    spreads: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    contaminations: tuple[str, ...] = tuple(CONTAMINATIONS)
    estimators: tuple[str, ...] = tuple(map(risk_estimator, DEFAULT_ESTIMATORS))
    strength: float = 0.5
    offset: float = 0.0
    variance_spread: float = 0.0
    draws: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        for option, values in (
            ("channels", self.channels),
            ("elements", self.elements),
            ("spread", self.spreads),
            ("contamination", self.contaminations),
            ("estimator", self.estimators),
        ):
            check_distinct(option, values)
        check_range("channels", self.channels, 1, LARGEST_CHANNELS)
        check_range("elements", self.elements, 2, 2**40)
        check_range("spread", self.spreads, 0, 1e6)
        check_range("strength", (self.strength,), 0, 1e6)
        check_range("offset", (self.offset,), -1e6, 1e6)
        check_range("variance-spread", (self.variance_spread,), 0, 5)
        check_range("draws", (self.draws,), FEWEST_DRAWS, 10**8)
        check_range("seed", (self.seed,), 0, 2**63 - 1)
        if "sample" in self.estimators:
            raise UsageError("--estimator sample: all others are compared with the sample estimators; name another.")
        self._check_memory()

    def draws_of(self, channels: int, elements: int, by_element: bool) -> int:
        """Return how many batches to draw of a setting: `draws`, or as many as its cost allows.

        The loss is summed over channels, so that with more channels fewer batches tell as much.
        """
        most = self.draws * MOMENTS_PER_DRAW // channels
        if by_element:
            most = min(most, self.draws * ELEMENTS_PER_DRAW // (channels * elements))
        return max(min(self.draws, most), FEWEST_DRAWS)

    def _check_memory(self) -> None:
        by_element = [name for name in self.contaminations if name in BY_ELEMENT]
        batch = max(self.channels) * max(self.elements)
        if by_element and batch > LARGEST_BATCH:
            raise UsageError(
                f"{max(self.channels)} channels × {max(self.elements)} elements are more than {LARGEST_BATCH:,}, which "
                f"have to be drawn one by one under {by_element[0]}; choose fewer, or --contamination none."
            )


BY_ELEMENT = ("uniform", "truncated-gaussian", "clipped-cauchy")
"""Contaminations under which the distribution of a batch's moments is only known through its elements."""


def parse_list(option: str, text: str) -> tuple[float, ...]:
    """Parse the comma-separated numbers of an option, none of them infinite.

    Raises:
        UsageError: one is not a finite number; the message names the option.
    """
    numbers = parse_numbers(text, f"--{option}")
    check_range(option, numbers, -math.inf, math.inf)
    return numbers


def parse_whole_list(option: str, text: str) -> tuple[int, ...]:
    """Parse the comma-separated whole numbers of an option.

    Raises:
        UsageError: one is none; the message names the option.
    """
    numbers = parse_list(option, text)
    for number in numbers:
        if number != int(number):
            raise UsageError(f"--{option}: {number:g} is not a whole number.")
    return tuple(map(int, numbers))


def check_range(option: str, values: Sequence[float], least: float, most: float) -> None:
    """Raise a UsageError that names `option` unless all values are numbers from `least` to `most`."""
    for value in values:
        if not (least <= value <= most and math.isfinite(value)):
            raise UsageError(f"--{option}: {value:g} is not between {least:g} and {most:g}.")


def check_distinct(option: str, values: Sequence[object]) -> None:
    """Raise a UsageError that names `option` if there is no value or one is there twice."""
    if not values:
        raise UsageError(f"--{option}: at least one value is needed.")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UsageError(f"--{option}: {value} is given twice.")


def canonical_estimators(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the canonical names of the estimators asked for, or the default ones.

    Raises:
        UsageError: a name is not known.
    """
    return tuple(map(risk_estimator, names or DEFAULT_ESTIMATORS))


def known_contaminations(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the contaminations asked for, or all.

    Raises:
        UsageError: a name is not known.
    """
    return tuple(map(contamination, names or CONTAMINATIONS))


DEFAULT_BN = ("sample", "stein", "jsnorm", "james-stein")


@dataclass(frozen=True)
class LipschitzSettings:
    """Which layers, and how long to look for their constants.

    Attributes:
        bn: estimators, canonical; plain BN (``sample``) comes first, added where it is not named.
        channels, elements, spreads, variance_spread: of random batches; see `Population`.
        starts: power iterations per layer and estimator, from different random vectors.
        seed: of everything random.

    Raises:
        UsageError: a value is out of range or given twice; the message names the option.
    """

    bn: tuple[str, ...] = DEFAULT_BN
    channels: tuple[int, ...] = (16, 64, 256)
    elements: tuple[int, ...] = (4, 64, 1024)
    spreads: tuple[float, ...] = (0.0, 1.0)
    variance_spread: float = 1.0
    starts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        others = tuple(name for name in self.bn if name != "sample")
        check_distinct("bn", self.bn)
        object.__setattr__(self, "bn", ("sample", *others))
        for option, values in (("channels", self.channels), ("elements", self.elements), ("spread", self.spreads)):
            check_distinct(option, values)
        check_range("channels", self.channels, 1, 4096)
        check_range("elements", self.elements, 1, 2**40)
        check_range("spread", self.spreads, 0, 1e6)
        check_range("variance-spread", (self.variance_spread,), 0, 5)
        check_range("starts", (self.starts,), 1, 100)
        check_range("seed", (self.seed,), 0, 2**63 - 1)
        if max(self.channels) * max(self.elements) > LARGEST_BATCH // 4:
            raise UsageError(
                f"{max(self.channels)} channels × {max(self.elements)} elements are more than {LARGEST_BATCH // 4:,}; "
                "choose fewer."
            )


def canonical_bn(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the canonical names of the BN estimators asked for, or the default ones.

    Raises:
        UsageError: a name is not known.
    """
    return tuple(str(parse_estimator(name)) for name in names or DEFAULT_BN)
