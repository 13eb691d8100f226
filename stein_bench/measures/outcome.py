"""Per-sample outcomes, and those of samples that are simply right or wrong."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stein_bench.errors import RunError
from stein_bench.measures.drawn import Drawn, pack_drawn, unpack_drawn
from stein_bench.report.packing import pack_bits, unpack_bits
from stein_bench.report.results import ExpectedAccuracy, Figure, Outcomes
from stein_bench.statistics.paired_tests import Paired, batch_losses, block_size, paired
from stein_bench.statistics.rates import Bits, Rate, accuracy, attack_success, mean_accuracy, robust_bits

Columns = Mapping[str, NDArray[Any]]
"""Per-sample arrays, (n,) or (n, K), in data order."""


class Outcome(ABC):
    """The outcome of each of n samples in one phase: clean, under an attack, or under one draw of a corruption."""

    @classmethod
    @abstractmethod
    def from_columns(cls, columns: Columns) -> Self:
        """Return the outcome from a task's columns; other columns are ignored."""

    def clustered(self, size: int) -> Self:
        """Return the outcome of samples of which every `size` in a row are versions of one base image.

        Intervals and tests then count base images, since the versions are not independent of each other.

        Raises:
            RunError: `size` is above 1 and the task has no such intervals.
        """
        if size > 1:
            raise RunError("several versions of a base image can only be evaluated for classification.")
        return self

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def select(self, indices: NDArray[np.int64]) -> Self:
        """Return the outcome of the samples at those positions; for intervals they must be of different base images."""

    @abstractmethod
    def right(self) -> tuple[float, int]:
        """Return the number correct and the total; their ratio is the accuracy."""

    @abstractmethod
    def accuracy(self) -> Rate:
        """Return the accuracy with its interval."""

    def headline(self) -> Figure:
        """Return the figure used for comparisons, with its interval: the accuracy, or the task's counterpart."""
        rate = self.accuracy()
        return Figure(value=rate.value, ci95=(rate.low, rate.high))

    @abstractmethod
    def value(self) -> float:
        """Return the headline's value without its interval."""

    def expected(self) -> ExpectedAccuracy | None:
        """Return the expected accuracy of a random model; None if its predictions were not drawn repeatedly."""
        return None

    def metrics(self) -> dict[str, Figure]:
        """Return the task's other metrics by name."""
        return {}

    @classmethod
    @abstractmethod
    def mean_accuracy(cls, draws: Sequence[Self]) -> Rate:
        """Return the mean accuracy over draws of the same n samples, with an interval for n samples."""

    @classmethod
    def mean_headline(cls, draws: Sequence[Self]) -> Figure:
        """Return the mean of the headline over draws of the same n samples, with an interval for n samples."""
        rate = cls.mean_accuracy(draws)
        return Figure(value=rate.value, ci95=(rate.low, rate.high))

    @classmethod
    def mean_metrics(cls, draws: Sequence[Self]) -> dict[str, Figure]:
        """Return the mean of the other metrics over several draws of the same samples."""
        del draws
        return {}

    @abstractmethod
    def under_attack(self, adversarial: Self, void: Bits) -> Self:
        """Return the outcome under attack, given this clean outcome.

        Per sample that is the worse of the clean and the adversarial outcome, or the clean one if the adversarial input
        is `void` (invalid or over budget).
        """

    @abstractmethod
    def worse_than(self, other: Self) -> Bits:
        """Return for which samples this outcome is worse than the other."""

    @abstractmethod
    def differs(self, other: Self) -> Bits:
        """Return for which samples the two outcomes differ enough to change the verdict."""

    @abstractmethod
    def versus(self, other: Self, batch_size: int | None = None) -> Paired:
        """Compare this (first) outcome with another (second) one of the same samples by their `headline`.

        `batch_size` is None if no prediction depends on the batch, else the size of the batches.
        """

    def batch_gains(self, other: Self, batch_size: int) -> NDArray[np.int64] | None:
        """Return per batch how many more samples are correct here than in the other; None if samples are graded.

        If base images have several versions, it is per block of whole batches and whole base images.
        """
        del other, batch_size
        return None

    def success_rate(self, robust: Self) -> float | None:
        """Return the share of samples correct here that an attack broke; None if undefined or samples are graded."""
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
        """Return the fields of the report's `Outcomes` for these outcomes, by label of attack and corruption."""

    @classmethod
    @abstractmethod
    def unpacked(cls, kept: Outcomes) -> tuple[Self, dict[str, Self]]:
        """Undo `packed`: return the clean outcome, and those under attack by label.

        Raises:
            UsageError: the packed outcomes are damaged.
        """


@dataclass(frozen=True, eq=False)
class RightOrWrong(Outcome):
    """Samples that are simply right or wrong; `cluster` consecutive ones are versions of one base image.

    Of a random model, right means right in more than half of the draws, and `drawn` has those draws. Under attack a
    sample then has the draws of the input that was right least often in the draws that select: the clean or the
    adversarial one; in the worst case, of all of them. Figures are from other draws, so the selection does not lower
    them.
    """

    correct: Bits
    cluster: int = field(default=1, kw_only=True)
    drawn: Drawn | None = field(default=None, kw_only=True)

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        """Return the outcome from the column ``correct`` and, for a random model, those of its draws."""
        return cls(columns["correct"].astype(np.bool_), drawn=Drawn.from_columns(columns))

    def clustered(self, size: int) -> Self:
        return replace(self, cluster=size)

    def __len__(self) -> int:
        return int(self.correct.size)

    def select(self, indices: NDArray[np.int64]) -> Self:
        return type(self)(self.correct[indices])

    def right(self) -> tuple[float, int]:
        return float(self.correct.sum()), len(self)

    def accuracy(self) -> Rate:
        """Return the share of correct samples with its Wilson interval."""
        return accuracy(self.correct, self.cluster)

    def expected(self) -> ExpectedAccuracy | None:
        return None if self.drawn is None else self.drawn.expected(self.cluster)

    def value(self) -> float:
        return float(self.correct.mean())

    @classmethod
    def mean_accuracy(cls, draws: Sequence[Self]) -> Rate:
        return mean_accuracy([draw.correct for draw in draws], draws[0].cluster)

    def under_attack(self, adversarial: Self, void: Bits) -> Self:
        robust = replace(adversarial, correct=robust_bits(self.correct, ~adversarial.correct))
        if self.drawn is None or adversarial.drawn is None:
            return replace(self, correct=np.where(void, self.correct, robust.correct))
        # The adversarial input also if it was right as often: it is the one that was made to be wrong.
        return self.where(~self.drawn.worse_than(adversarial.drawn) & ~void, robust)

    def where(self, taken: Bits, other: Self) -> Self:
        """Return the outcome with the samples that are `taken` from another one."""
        drawn = None if self.drawn is None or other.drawn is None else self.drawn.where(taken, other.drawn)
        return replace(self, correct=np.where(taken, other.correct, self.correct), drawn=drawn)

    @classmethod
    def worst_case(cls, outcomes: Sequence[Self]) -> Self:
        """Return the worst of several outcomes, sample by sample; of a random model, see the class.

        Where several attacks of it were right equally often, that one counts which was right least often overall.
        """
        if any(outcome.drawn is None for outcome in outcomes):
            return super().worst_case(outcomes)
        worst, *others = sorted(outcomes, key=lambda one: 0.0 if one.drawn is None else one.drawn.selecting.mean())
        for other in others:
            if worst.drawn is not None and other.drawn is not None:
                worst = worst.where(other.drawn.worse_than(worst.drawn), other)
        return worst

    def worse_than(self, other: Self) -> Bits:
        return other.correct & ~self.correct

    def differs(self, other: Self) -> Bits:
        return np.asarray(self.correct != other.correct, np.bool_)

    def versus(self, other: Self, batch_size: int | None = None) -> Paired:
        return paired(self.correct, other.correct, batch_size, math.lcm(self.cluster, other.cluster))

    def batch_gains(self, other: Self, batch_size: int) -> NDArray[np.int64]:
        block = block_size(batch_size, math.lcm(self.cluster, other.cluster))
        return batch_losses(self.correct, other.correct, block or batch_size)

    def success_rate(self, robust: Self) -> float | None:
        rate = attack_success(self.correct, ~robust.correct)
        return rate.value if rate.n else None

    @classmethod
    def packed(cls, clean: Self, robust: Mapping[str, Self], corrupted: Mapping[str, Sequence[Self]]) -> dict[str, Any]:
        return {
            "cluster_size": None if clean.cluster == 1 else clean.cluster,
            "clean_correct": pack_bits(clean.correct),
            "robust": {label: pack_bits(outcome.correct) for label, outcome in robust.items()},
            "corrupted_correct": {
                label: [pack_bits(draw.correct) for draw in draws] for label, draws in corrupted.items()
            },
            "drawn": pack_drawn(clean.drawn, {label: outcome.drawn for label, outcome in robust.items()}),
        }

    @classmethod
    def unpacked(cls, kept: Outcomes) -> tuple[Self, dict[str, Self]]:
        cluster = kept.cluster_size or 1
        clean, drawn = unpack_drawn(kept)
        robust = {
            label: cls(unpack_bits(text, kept.samples), cluster=cluster, drawn=drawn.get(label))
            for label, text in kept.robust.items()
        }
        return cls(unpack_bits(kept.clean_correct or "", kept.samples), cluster=cluster, drawn=clean), robust
