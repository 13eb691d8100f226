"""Outcomes of samples, and those of samples that are right or wrong as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stein_bench.report.packing import pack_bits, unpack_bits
from stein_bench.report.results import Figure, Outcomes
from stein_bench.statistics.paired_tests import Paired, batch_losses, paired
from stein_bench.statistics.rates import Bits, Rate, accuracy, attack_success, mean_accuracy, robust_bits

Columns = Mapping[str, NDArray[Any]]
"""Per-sample arrays, (n,) or (n, K), in data order."""


class Outcome(ABC):
    """The outcome of each of n samples in one phase: clean, under an attack, or under one draw of a corruption."""

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

    def headline(self) -> Figure:
        """Return the figure that comparisons use, with its interval: the accuracy, or the task's counterpart."""
        rate = self.accuracy()
        return Figure(value=rate.value, ci95=(rate.low, rate.high))

    @abstractmethod
    def value(self) -> float:
        """Return the value of the headline alone."""

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
        """Return the outcome under attack, given this clean outcome.

        Per sample that is the worse of the clean and the adversarial outcome; where the adversarial input is `void`
        (invalid, or beyond eps), it is the clean one.
        """

    @abstractmethod
    def worse_than(self, other: Self) -> Bits:
        """Return in which samples this outcome is worse than the other."""

    @abstractmethod
    def differs(self, other: Self) -> Bits:
        """Return in which samples the two outcomes differ so much that the verdict changes."""

    @abstractmethod
    def versus(self, other: Self, batch_size: int | None = None) -> Paired:
        """Compare this outcome, the first, with another one of the same samples, the second, by their `headline`.

        `batch_size` is None where samples are independent, else the size of the batches.
        """

    def batch_gains(self, other: Self, batch_size: int) -> NDArray[np.int64] | None:
        """Return for each batch how many more samples are right here than in the other; None without such bits."""
        del other, batch_size
        return None

    def success_rate(self, robust: Self) -> float | None:
        """Return the share that an attack broke of the samples that are right here; None where there is no such bit."""
        del robust
        return None

    @classmethod
    def worst_case(cls, outcomes: Sequence[Self]) -> Self:
        """Return the worst of several outcomes (at least one), sample by sample."""
        worst, *others = outcomes
        for other in others:
            worst = worst.under_attack(other, np.zeros(len(worst), np.bool_))
        return worst

    @classmethod
    @abstractmethod
    def packed(cls, clean: Self, robust: Mapping[str, Self], corrupted: Mapping[str, Sequence[Self]]) -> dict[str, Any]:
        """Return the fields of the report's `Outcomes` that keep these outcomes, by label of attack and corruption."""

    @classmethod
    @abstractmethod
    def unpacked(cls, kept: Outcomes) -> tuple[Self, dict[str, Self]]:
        """Undo `packed`: return the clean outcome, and by label those under attack.

        Raises:
            UsageError: the packed outcomes are damaged.
        """


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

    def value(self) -> float:
        return float(self.correct.mean())

    @classmethod
    def mean_accuracy(cls, draws: Sequence[Self]) -> Rate:
        return mean_accuracy([draw.correct for draw in draws])

    def under_attack(self, adversarial: Self, void: Bits) -> Self:
        return type(self)(robust_bits(self.correct, ~adversarial.correct & ~void))

    def worse_than(self, other: Self) -> Bits:
        return other.correct & ~self.correct

    def differs(self, other: Self) -> Bits:
        return np.asarray(self.correct != other.correct, np.bool_)

    def versus(self, other: Self, batch_size: int | None = None) -> Paired:
        return paired(self.correct, other.correct, batch_size)

    def batch_gains(self, other: Self, batch_size: int) -> NDArray[np.int64]:
        return batch_losses(self.correct, other.correct, batch_size)

    def success_rate(self, robust: Self) -> float | None:
        rate = attack_success(self.correct, ~robust.correct)
        return rate.value if rate.n else None

    @classmethod
    def packed(cls, clean: Self, robust: Mapping[str, Self], corrupted: Mapping[str, Sequence[Self]]) -> dict[str, Any]:
        return {
            "clean_correct": pack_bits(clean.correct),
            "robust": {label: pack_bits(outcome.correct) for label, outcome in robust.items()},
            "corrupted_correct": {
                label: [pack_bits(draw.correct) for draw in draws] for label, draws in corrupted.items()
            },
        }

    @classmethod
    def unpacked(cls, kept: Outcomes) -> tuple[Self, dict[str, Self]]:
        robust = {label: cls(unpack_bits(text, kept.samples)) for label, text in kept.robust.items()}
        return cls(unpack_bits(kept.clean_correct or "", kept.samples)), robust
