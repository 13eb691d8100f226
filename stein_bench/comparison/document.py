"""Results of a comparison: pairs of variants, or a leaderboard, as one JSON document each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stein_bench.report.results import Document, Interval, Part, Share

Signed = Annotated[float, Field(ge=-1, le=1)]

COMPARE_VERSION = 1
ALPHA = 0.05
"""Differences whose adjusted p is below this are called significant."""


class Source(Part):
    """One of the reports."""

    name: str = Field(description="what it is called here")
    id: str
    created: str
    model: str


class Difference(Part):
    """A paired difference: second minus first, on the same samples."""

    value: Signed
    interval: tuple[Signed, Signed] = Field(description="95 %, Newcombe's method 10")
    lost: int = Field(description="samples right in the first only")
    gained: int = Field(description="samples right in the second only")
    p: Share | None = Field(description="two-sided, exact; null where there is no test")
    p_adjusted: Share | None = Field(description="the same after Holm over all tests of the document")
    assumes_independence: bool = Field(description="of the interval: true under batch statistics")

    @property
    def significant(self) -> bool:
        """Whether the adjusted p is below `ALPHA`."""
        return self.p_adjusted is not None and self.p_adjusted < ALPHA


class PairRow(Part):
    """One accuracy of two variants; where they cannot be compared there is a reason instead of a difference."""

    first: str = Field(description="variant in the first report, e.g. sample/running")
    second: str = Field(description="variant in the second report; the same report where there is only one")
    accuracy: str = Field(description="clean, worst-case, an attack's label, or * for all of a variant")
    title: str
    samples: int
    first_accuracy: Share | None
    second_accuracy: Share | None
    difference: Difference | None
    reason: str = Field(description="why they cannot be compared; empty where they are")


class PairTable(Document):
    """Two reports, or the variants of one, paired sample by sample."""

    compare_version: Literal[1]
    kind: Literal["pairs"]
    sources: tuple[Source, ...]
    rows: tuple[PairRow, ...]
    notes: tuple[str, ...]
    graded: bool = Field(
        default=False,
        exclude_if=lambda graded: not graded,
        description="true for segmentation: figures are mIoU, intervals those of the bootstrap over images, lost and "
        "gained are images whose mIoU fell and rose, p comes from exchanging images",
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
    """One variant of one report. Where it cannot be compared it has reasons, and neither rank nor difference."""

    rank: int | None
    source: str
    model: str
    variant: str
    clean: Rated
    attacks: dict[str, Rated] = Field(description="robust accuracy by label")
    worst_case: Rated | None = Field(description="over the leaderboard's battery; of its own where not comparable")
    behind: Difference | None = Field(description="from the first of the ranking, in the worst case")
    reasons: tuple[str, ...]


class Column(Part):
    """An attack that is a column of the leaderboard."""

    label: str
    title: str


class Leaderboard(Document):
    """Variants of several reports, sorted by worst-case accuracy."""

    compare_version: Literal[1]
    kind: Literal["leaderboard"]
    sources: tuple[Source, ...]
    columns: tuple[Column, ...]
    battery: tuple[str, ...] = Field(description="labels of the attacks that the worst case is taken over")
    samples: int
    rows: tuple[BoardRow, ...]
    notes: tuple[str, ...]
    graded: bool = Field(
        default=False,
        exclude_if=lambda graded: not graded,
        description="true for segmentation: figures are mIoU, intervals those of the bootstrap over images, lost and "
        "gained are images whose mIoU fell and rose, p comes from exchanging images",
    )

    @property
    def comparable(self) -> bool:
        """Whether anything could be compared."""
        return sum(row.rank is not None for row in self.rows) > 1
