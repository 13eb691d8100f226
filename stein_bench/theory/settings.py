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
"""Most elements of a batch (C·N) that are held in memory if they have to be drawn one by one."""
FEWEST_DRAWS = 40
"""Per setting: intervals from fewer draws cannot be trusted."""
MOMENTS_PER_DRAW = 100
ELEMENTS_PER_DRAW = 2**14


@dataclass(frozen=True)
class Population:
    """The true moments of the channels, in units of σ, their standard deviation if all variances are equal.

    Attributes:
        spread: standard deviation of the means over channels, ≥ 0.
        offset: added to all means.
        variance_spread: standard deviation of the log-variances over channels; the mean variance is 1.
    """

    spread: float = 0.0
    offset: float = 0.0
    variance_spread: float = 0.0


@dataclass(frozen=True)
class RiskSettings:
    """A grid of settings, and how precisely to simulate each.

    Attributes:
        channels, elements: C, and N ≥ 2 elements per channel.
        spreads: of the true means, in σ (see `Population`).
        contaminations: keys of `CONTAMINATIONS`.
        estimators: canonical names; they are compared with the sample estimators.
        strength: of the contamination, in σ: its standard deviation, or √2 times the scale of the Cauchy noise.
        offset, variance_spread: see `Population`.
        draws: batches simulated per setting; fewer if C or N is large, see `draws_of`.
        seed: of all random draws.

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
        """Return how many batches to draw for a setting: `draws`, or as many as its cost allows.

        The loss is summed over channels, so that with more channels fewer batches are needed.
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
                f"{max(self.channels)} channels × {max(self.elements)} elements are more than the limit of "
                f"{LARGEST_BATCH:,}, as they have to be drawn one by one under {by_element[0]}; choose fewer, or "
                "--contamination none."
            )


BY_ELEMENT = ("uniform", "truncated-gaussian", "clipped-cauchy")
"""Contaminations under which a batch's moments can only be computed from drawn elements."""


def parse_list(option: str, text: str) -> tuple[float, ...]:
    """Parse the comma-separated, finite numbers of an option.

    Raises:
        UsageError: one is not a finite number; the message names the option.
    """
    numbers = parse_numbers(text, f"--{option}")
    check_range(option, numbers, -math.inf, math.inf)
    return numbers


def parse_whole_list(option: str, text: str) -> tuple[int, ...]:
    """Parse the comma-separated whole numbers of an option.

    Raises:
        UsageError: one is not a whole number; the message names the option.
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
    """Raise a UsageError that names `option` if there is no value or one is given twice."""
    if not values:
        raise UsageError(f"--{option}: at least one value is needed.")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UsageError(f"--{option}: {value} is given twice.")


def canonical_estimators(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the canonical names of the requested estimators, or the default ones.

    Raises:
        UsageError: a name is unknown.
    """
    return tuple(map(risk_estimator, names or DEFAULT_ESTIMATORS))


def known_contaminations(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the requested contaminations, or all.

    Raises:
        UsageError: a name is unknown.
    """
    return tuple(map(contamination, names or CONTAMINATIONS))


DEFAULT_BN = ("sample", "stein", "jsnorm", "james-stein")


@dataclass(frozen=True)
class LipschitzSettings:
    """Which estimators and layers to analyze, and with how many power iterations.

    Attributes:
        bn: canonical estimator names; plain BN (``sample``) comes first and is added if missing.
        channels, elements, spreads, variance_spread: of random batches; see `Population`.
        starts: power iterations per layer and estimator, from different random vectors.
        seed: of all random draws.

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
                f"{max(self.channels)} channels × {max(self.elements)} elements are more than the limit of "
                f"{LARGEST_BATCH // 4:,}; choose fewer."
            )


def canonical_bn(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the canonical names of the requested BN estimators, or the default ones.

    Raises:
        UsageError: a name is unknown.
    """
    return tuple(str(parse_estimator(name)) for name in names or DEFAULT_BN)
