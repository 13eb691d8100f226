"""Outcomes of binary classification with a score: sensitivity, specificity and the area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stein_bench.measures.drawn import Drawn
from stein_bench.measures.outcome import Columns, RightOrWrong
from stein_bench.report.results import Figure
from stein_bench.statistics.auc import area, auc
from stein_bench.statistics.rates import Bits, mean_accuracy


@dataclass(frozen=True, eq=False)
class TwoClass(RightOrWrong):
    """Samples of two classes with their scores; reports store only the bits, so unpacked outcomes have no scores.

    Attributes:
        score: the logit of the positive class relative to the other, (n,); infinite on the wrong side if the model's
            outputs are not finite.
        positive: which samples are of class 1.
    """

    score: NDArray[np.float64] | None = None
    positive: Bits | None = None

    @classmethod
    def from_columns(cls, columns: Columns) -> Self:
        """Return the outcome from the columns ``correct``, ``score`` and ``positive``."""
        score, positive = columns["score"].astype(np.float64), columns["positive"].astype(np.bool_)
        return cls(columns["correct"].astype(np.bool_), score, positive, drawn=Drawn.from_columns(columns))

    def select(self, indices: NDArray[np.int64]) -> Self:
        if self.score is None or self.positive is None:
            return super().select(indices)
        return type(self)(self.correct[indices], self.score[indices], self.positive[indices])

    def metrics(self) -> dict[str, Figure]:
        """Return ``auc``, ``sensitivity`` and ``specificity``, see `mean_metrics`; empty without scores."""
        return self.mean_metrics([self])

    @classmethod
    def mean_metrics(cls, draws: Sequence[Self]) -> dict[str, Figure]:
        """Return the means over `draws` of the same n samples with 95 % intervals for n samples.

        ``sensitivity`` and ``specificity`` are the shares correct of class 1 and of class 0, with Wilson intervals;
        ``auc`` ranks the scores, with the interval of `statistics.auc.area`. Figures of an empty class are null. There
        are no intervals for samples that are versions of base images.
        """
        positive = draws[0].positive
        if positive is None:
            return {}
        found = {
            "auc": _auc(draws),
            "sensitivity": _share([draw.correct[positive] for draw in draws]),
            "specificity": _share([draw.correct[~positive] for draw in draws]),
        }
        if draws[0].cluster > 1:
            return {name: Figure(value=figure.value, ci95=None) for name, figure in found.items()}
        return found

    def under_attack(self, adversarial: Self, void: Bits) -> Self:
        """Return the worse of the clean and the adversarial score of each sample; the clean one if `void`.

        Of a random model it is the mean score of the input that was right least often, see `RightOrWrong`.
        """
        if self.drawn is not None and adversarial.drawn is not None:
            return super().under_attack(adversarial, void)
        return self._worse(adversarial, ~void)

    def where(self, taken: Bits, other: Self) -> Self:
        found = super().where(taken, other)
        if self.score is None or other.score is None:
            return replace(found, score=None, positive=None)
        return replace(found, score=np.where(taken, other.score, self.score))

    def _worse(self, other: Self, counts: Bits) -> Self:
        """Return the worse of the two outcomes of each sample if the other one `counts`, else this one."""
        correct = self.correct & (other.correct | ~counts)
        if self.score is None or other.score is None or self.positive is None:
            return type(self)(correct, cluster=self.cluster)
        lower, higher = np.minimum(self.score, other.score), np.maximum(self.score, other.score)
        score = np.where(counts, np.where(self.positive, lower, higher), self.score)
        return replace(self, correct=correct, score=score)


def _share(draws: list[Bits]) -> Figure:
    if not draws[0].size:
        return Figure(value=None, ci95=None)
    rate = mean_accuracy(draws)
    return Figure(value=rate.value, ci95=(rate.low, rate.high))


def _auc(draws: Sequence[TwoClass]) -> Figure:
    areas = [auc(draw.score, draw.positive) for draw in draws if draw.score is not None and draw.positive is not None]
    values = [found.value for found in areas if found is not None]
    if not values or draws[0].positive is None:
        return Figure(value=None, ci95=None)
    positives = int(draws[0].positive.sum())
    mean = area(sum(values) / len(values), positives, len(draws[0]) - positives)
    return Figure(value=mean.value, ci95=(mean.low, mean.high))
