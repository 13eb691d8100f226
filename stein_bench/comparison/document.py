"""Results of a comparison as a JSON document: pairs of variants, or a leaderboard."""

from __future__ import annotations

import operator
from typing import Annotated, Literal

from pydantic import Field

from stein_bench.report.results import Document, Interval, MeanCorruptionError, Part, Share, is_none

Signed = Annotated[float, Field(ge=-1, le=1)]

COMPARE_VERSION = 1
ALPHA = 0.05
"""A difference is significant if its adjusted p is below this."""


class Source(Part):
    """One of the compared reports."""

    name: str = Field(description="its name in this comparison")
    id: str
    created: str
    model: str


class Difference(Part):
    """A paired difference: second minus first, on the same samples."""

    value: Signed
    interval: tuple[Signed, Signed] = Field(description="95 %, Newcombe's method 10")
    lost: int = Field(description="samples correct in the first only")
    gained: int = Field(description="samples correct in the second only")
    p: Share | None = Field(description="two-sided, exact; null if there is no test")
    p_adjusted: Share | None = Field(description="p after Holm's correction for all tests of the document")
    assumes_independence: bool = Field(description="whether the interval does: true under batch statistics")

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is below `ALPHA`."""
        return self.p_adjusted is not None and self.p_adjusted < ALPHA


class PairRow(Part):
    """One accuracy of two variants: their difference, or the reason why they cannot be compared."""

    first: str = Field(description="variant in the first report, e.g. sample/running")
    second: str = Field(description="variant in the second report, or in the same one if there is only one")
    accuracy: str = Field(
        description="clean, worst-case, the label of an attack or a noise, corruptions for the mean over all common "
        "corruptions, e.g. corruptions/fog for that over the severities of one, or * for every accuracy of a variant"
    )
    title: str
    samples: int
    first_accuracy: Share | None
    second_accuracy: Share | None
    difference: Difference | None
    reason: str = Field(description="why they cannot be compared; empty if they can")
    versions: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="the accuracy is a mean over so many corrupted versions of each sample (draws, severities), which "
        "lost and gained count; tests exchange whole samples, under batch statistics whole batches, and the interval "
        "counts samples; omitted for a single one",
    )


class CorruptionErrors(Part):
    """Errors of the second under common corruptions, relative to those of the first (Hendrycks and Dietterich 2019).

    All are ratios: 1 means as many errors as the first. Null where the first makes none, or where its errors do not
    rise.
    """

    first: str
    second: str
    mce: float | None = Field(description="mean corruption error: the mean over the corruptions")
    relative_mce: float | None = Field(description="the same of the errors minus the error on clean samples")
    corruption_errors: dict[str, float | None] = Field(description="of each corruption, over its severities")


class PairTable(Document):
    """Variants of two reports, or of one, paired sample by sample."""

    compare_version: Literal[1]
    kind: Literal["pairs"]
    sources: tuple[Source, ...]
    rows: tuple[PairRow, ...]
    notes: tuple[str, ...]
    graded: bool = Field(
        default=False,
        exclude_if=lambda graded: not graded,
        description="true for segmentation: figures are mIoU, intervals are from the bootstrap over images, lost and "
        "gained are images whose mIoU fell and rose, p is from a permutation test over images",
    )
    errors: tuple[CorruptionErrors, ...] = Field(
        default=(),
        exclude_if=operator.not_,
        description="of each pair that has several common corruptions in common; omitted without any",
    )

    @property
    def comparable(self) -> bool:
        """Whether anything could be compared."""
        return any(row.difference is not None for row in self.rows)


class Rated(Part):
    """A share with its 95 % Wilson interval."""

    value: Share
    interval: Interval


class BoardRow(Part):
    """One variant of one report. If it cannot be compared, it has reasons instead of a rank and a difference."""

    rank: int | None
    source: str
    model: str
    variant: str
    clean: Rated
    attacks: dict[str, Rated] = Field(description="robust accuracy by label")
    worst_case: Rated | None = Field(description="over the leaderboard's battery; over its own if not comparable")
    behind: Difference | None = Field(description="worst case, minus that of the first in the ranking")
    reasons: tuple[str, ...]
    corruptions: dict[str, Rated] = Field(
        default_factory=dict,
        exclude_if=operator.not_,
        description="accuracy under each of the leaderboard's corruptions, if the variant has a result for all of them",
    )
    mce: MeanCorruptionError | None = Field(
        default=None,
        exclude_if=is_none,
        description="mean corruption error over exactly the leaderboard's common corruptions, relative to the baseline "
        "of the variant's report; omitted if the report has none or a result of them cannot be trusted",
    )


class FailedModel(Part):
    """A model of a sweep without a report."""

    name: str = Field(description="that of the report it would have")
    model: str
    reason: str


class Column(Part):
    """An attack or a corruption with a column in the leaderboard."""

    label: str
    title: str


class Leaderboard(Document):
    """Variants of several reports, sorted by worst-case accuracy."""

    compare_version: Literal[1]
    kind: Literal["leaderboard"]
    sources: tuple[Source, ...]
    columns: tuple[Column, ...]
    battery: tuple[str, ...] = Field(description="labels of the attacks in the worst case")
    samples: int
    rows: tuple[BoardRow, ...]
    notes: tuple[str, ...]
    graded: bool = Field(
        default=False,
        exclude_if=lambda graded: not graded,
        description="true for segmentation: figures are mIoU, intervals are from the bootstrap over images, lost and "
        "gained are images whose mIoU fell and rose, p is from a permutation test over images",
    )

    corruptions: tuple[Column, ...] = Field(
        default=(),
        exclude_if=operator.not_,
        description="those that most of the ranked variants have; they do not count in the ranking",
    )
    failed: tuple[FailedModel, ...] = Field(
        default=(), exclude_if=operator.not_, description="models of a sweep that have no report"
    )

    @property
    def comparable(self) -> bool:
        """Whether anything could be compared."""
        return sum(row.rank is not None for row in self.rows) > 1
