"""The gate's result, as one JSON document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stein_bench.report.results import Document, Part, Share, is_none

Signed = Annotated[float, Field(ge=-1, le=1)]

Level = Literal["error", "warning", "notice"]
Status = Literal["regression", "unproven", "unchanged", "improved"]
Kind = Literal[
    "refused", "regression", "missing", "floor", "unproven", "blind", "diagnostic", "improved", "new", "note"
]

GATE_VERSION = 1


class Origin(Part):
    """The identity of a report."""

    id: str
    created: str
    model: str
    git_commit: str | None


class Comparison(Part):
    """One accuracy of one variant, now and in the baseline, on the same samples."""

    variant: str = Field(description="e.g. stein/running")
    accuracy: str = Field(
        description="clean, worst-case, the label of an attack or a noise, corruptions for the mean over all common "
        "corruptions, or e.g. corruptions/fog for that over the severities of one"
    )
    title: str = Field(description="short form for display")
    samples: int
    before: Share = Field(description="the baseline's accuracy")
    now: Share
    difference: Signed = Field(description="now minus before: below 0 is worse")
    interval: tuple[Signed, Signed] = Field(description="95 % interval of the difference, Newcombe's method 10")
    lost: int = Field(description="samples correct before and wrong now")
    gained: int = Field(description="samples wrong before and correct now")
    tolerance: Share
    p_drop: Share | None = Field(description="one-sided p of a drop; null if there are too few batches for a test")
    p_drop_adjusted: Share | None = Field(description="p of a drop after Holm's correction for all gated comparisons")
    p_gain_adjusted: Share | None = Field(description="one-sided p of a gain after Holm's correction")
    detectable_drop: Share | None = Field(description="smallest detectable drop; null if no drop is detectable")
    assumes_independence: bool = Field(description="whether the interval does: true under batch statistics")
    status: Status
    newly_broken: tuple[int, ...] = Field(description="the first lost samples, by position in data order from 0")
    graded: bool = Field(
        default=False,
        exclude_if=lambda graded: not graded,
        description="true for mIoU: lost and gained are images whose mIoU fell and rose, the interval is from the "
        "paired bootstrap over images, p is from a permutation test over images",
    )
    flipped: str | None = Field(
        default=None,
        exclude_if=is_none,
        description="what the test exchanges if several samples are versions of one base image: base images, under "
        "batch statistics blocks of whole batches and base images; the interval counts base images",
    )
    versions: int | None = Field(
        default=None,
        exclude_if=is_none,
        description="the accuracy is a mean over so many corrupted versions of each sample (draws, severities): lost "
        "and gained count versions, newly_broken are the samples of which fewer versions are right, tests exchange "
        "whole samples, under batch statistics whole batches, and the interval counts samples; omitted for a single "
        "one",
    )


class Floor(Part):
    """A minimum set by the policy and the accuracy it applies to, regardless of the baseline."""

    variant: str
    accuracy: str
    title: str
    minimum: Share
    value: Share | None = Field(description="null if there is no result")
    held: bool


class Finding(Part):
    """One message for people; errors and refusals decide the verdict."""

    level: Level
    kind: Kind
    variant: str | None
    accuracy: str | None
    message: str


class GateResult(Document):
    """The verdict: passed, failed (a regression, a missed floor, a missing attack) or refused (not comparable)."""

    gate_version: Literal[1]
    verdict: Literal["passed", "failed", "refused"]
    report: Origin
    baseline: Origin
    alpha: float
    tests: int = Field(description="number of comparisons tested, for which Holm's correction is made")
    comparisons: tuple[Comparison, ...] = Field(description="worst first")
    floors: tuple[Floor, ...]
    findings: tuple[Finding, ...] = Field(description="worst first")

    def messages(self, level: Level) -> list[str]:
        """Return the messages of one level."""
        return [finding.message for finding in self.findings if finding.level == level]
