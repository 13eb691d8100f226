"""What became of the samples, as accuracies, metrics and comparisons: the NumPy half of every task (see `tasks`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stein_bench.metrics import (
    Bits,
    Rate,
    accuracy,
    attack_success,
    mean_accuracy,
    robust_bits,
    worst_case,
)
from stein_bench.outcomes import pack_bits
from stein_bench.results import Figure

Columns = Mapping[str, NDArray[Any]]
"""Per-sample arrays, (n,) or (n, K), in data order."""


class Outcome(ABC):
    """What became of each of n samples in one phase: clean, under an attack, or under one draw of a corruption."""

    @classmethod
    @abstractmethod
    def from_columns(cls, columns: Columns) -> Self:
        """Return the outcome that a task's columns make; other columns are ignored."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def select(self, indices: NDArray[np.int64]) -> Self:
        """Return the outcome of the samples at those positions."""

    @abstractmethod
    def right(self) -> tuple[float, int]:
        """Return how much is right, and of how much: their ratio is the accuracy."""

    @abstractmethod
    def accuracy(self) -> Rate:
        """Return the accuracy with its interval."""

    def metrics(self) -> dict[str, Figure]:
        """Return the task's other metrics by name."""
        return {}

    @classmethod
    @abstractmethod
    def mean_accuracy(cls, draws: Sequence[Self]) -> Rate:
        """Return the mean accuracy over several draws of the same samples, with an interval for that many samples."""

    @classmethod
    def mean_metrics(cls, draws: Sequence[Self]) -> dict[str, Figure]:
        """Return the mean of the other metrics over several draws of the same samples."""
        del draws
        return {}

    @abstractmethod
    def under_attack(self, adversarial: Self, void: Bits) -> Self:
        """Return what is left of this clean outcome under attack.

        Per sample that is the worse of the clean and the adversarial outcome; where the adversarial input is `void`
        (invalid, or beyond eps), it is the clean one.
        """

    @abstractmethod
    def worse_than(self, other: Self) -> Bits:
        """Return in which samples this outcome is worse than the other."""

    @abstractmethod
    def differs(self, other: Self) -> Bits:
        """Return in which samples the two outcomes differ by more than rounding."""

    def success_rate(self, robust: Self) -> float | None:
        """Return the share that an attack broke of the samples that are right here; None where there is no such bit."""
        del robust
        return None

    @classmethod
    @abstractmethod
    def worst_case(cls, outcomes: Sequence[Self]) -> Self:
        """Return the worst of several outcomes (at least one), sample by sample."""

    @classmethod
    @abstractmethod
    def packed(cls, clean: Self, robust: Mapping[str, Self], corrupted: Mapping[str, Sequence[Self]]) -> dict[str, Any]:
        """Return the fields of the report's `Outcomes` that keep these outcomes, by label of attack and corruption."""


@dataclass(frozen=True, eq=False)
class RightOrWrong(Outcome):
    """Samples that are right or wrong as a whole."""

    correct: Bits

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        """Return the outcome in the column ``correct``."""
        return cls(columns["correct"].astype(np.bool_))

    def __len__(self) -> int:
        return int(self.correct.size)

    def select(self, indices: NDArray[np.int64]) -> Self:
        return type(self)(self.correct[indices])

    def right(self) -> tuple[float, int]:
        return float(self.correct.sum()), len(self)

    def accuracy(self) -> Rate:
        """Return the share of samples that are right, with its Wilson interval."""
        return accuracy(self.correct)

    @classmethod
    def mean_accuracy(cls, draws: Sequence[Self]) -> Rate:
        return mean_accuracy([draw.correct for draw in draws])

    def under_attack(self, adversarial: Self, void: Bits) -> Self:
        return type(self)(robust_bits(self.correct, ~adversarial.correct & ~void))

    def worse_than(self, other: Self) -> Bits:
        return other.correct & ~self.correct

    def differs(self, other: Self) -> Bits:
        return np.asarray(self.correct != other.correct, np.bool_)

    def success_rate(self, robust: Self) -> float | None:
        rate = attack_success(self.correct, ~robust.correct)
        return rate.value if rate.n else None

    @classmethod
    def worst_case(cls, outcomes: Sequence[Self]) -> Self:
        return cls(worst_case([outcome.correct for outcome in outcomes]))

    @classmethod
    def packed(cls, clean: Self, robust: Mapping[str, Self], corrupted: Mapping[str, Sequence[Self]]) -> dict[str, Any]:
        return {
            "clean_correct": pack_bits(clean.correct),
            "robust": {label: pack_bits(outcome.correct) for label, outcome in robust.items()},
            "corrupted_correct": {
                label: [pack_bits(draw.correct) for draw in draws] for label, draws in corrupted.items()
            },
        }


MEASURES: dict[str, type[Outcome]] = {"classification": RightOrWrong}
"""By task: how its outcomes are measured."""
