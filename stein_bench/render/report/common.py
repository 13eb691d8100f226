"""Common corruptions in a report: which rows stand for them, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stein_bench.corruptions.names import STANDARD
from stein_bench.report.attack_names import SEVERITY
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN, percent
from stein_bench.report.results import (
    CommonCorruptions,
    CorruptionResult,
    GroupResult,
    MeanCorruptionError,
    VariantResult,
    headline,
)

MOST_ROWS = 6
"""With more common corruptions and severities than this, a single row stands for them; the grid has them all."""


def made_here(variant: VariantResult) -> list[CorruptionResult]:
    """Return the results under common corruptions of samples that are not corrupted already."""
    return [one for one in variant.corruptions if SEVERITY in one.params]


def rows_apart(variant: VariantResult) -> list[CorruptionResult]:
    """Return the corruptions that have a row each: noises, failed ones, and common ones if they are few."""
    common = [one for one in made_here(variant) if one.status == "ok"]
    few = len(common) <= MOST_ROWS
    return [one for one in variant.corruptions if few or one not in common]


def stands_for_all(variant: VariantResult) -> str | None:
    """Return what the single row for the common corruptions stands for, e.g. ``15 × 5``; None without such a row."""
    found = variant.common_corruptions
    count = len([one for one in made_here(variant) if one.status == "ok"])
    if found is None or count <= MOST_ROWS:
        return None
    severities = {len(one.severities) for one in found.corruptions.values()}
    return f"{len(found.corruptions)} × {severities.pop()}" if len(severities) == 1 else f"{count} cells"


def cells_text(found: CommonCorruptions) -> str:
    """Return over what the mean is, e.g. ``15 corruptions at severities 1 to 5``."""
    severities = sorted({severity for one in found.corruptions.values() for severity in one.severities})
    alike = all(one.severities == severities for one in found.corruptions.values())
    at = severities_text(severities) if alike else "different severities"
    return f"{len(found.corruptions)} corruptions at {at}"


def severities_text(severities: Sequence[int]) -> str:
    """Return e.g. ``severity 3``, ``severities 1+3`` or ``severities 1 to 5``."""
    told = "1 to 5" if list(severities) == [1, 2, 3, 4, 5] else "+".join(map(str, severities))
    return f"severit{'ies' if len(severities) > 1 else 'y'} {told}"


def made_cells(variant: VariantResult) -> Mapping[str, GroupResult]:
    """Return the results under common corruptions by cell, e.g. ``fog/3``, as those of a corrupted test set.

    For segmentation they are mIoUs.
    """
    return {
        f"{one.name}/{one.params[SEVERITY]}": GroupResult(
            samples=variant.outcomes.samples, accuracy=figure.value, ci95=figure.ci95
        )
        for one in made_here(variant)
        if one.accuracy is not None
        and (figure := headline(one.accuracy, one.ci95, one.metrics)).value is not None
        and figure.ci95 is not None
    }


def cells_without_result(variant: VariantResult) -> list[str]:
    """Return the cells of common corruptions that have failed."""
    known = made_cells(variant)
    cells = [f"{one.name}/{one.params[SEVERITY]}" for one in made_here(variant)]
    return [cell for cell in cells if cell not in known]


def common_notes(report: Report) -> Iterator[str]:
    """Yield what the means over corruptions are, and the mean corruption errors."""
    summaries = [variant.common_corruptions for variant in report.variants if variant.common_corruptions]
    one, several = ("mIoU", "mIoUs") if report.data.task == "segmentation" else ("accuracy", "accuracies")
    if any(made_here(variant) for variant in report.variants):
        yield (
            f"† common corruptions (Hendrycks and Dietterich 2019): {one} on the corrupted input alone; not attacks, "
            "and not part of the worst case"
        )
    if any(len(one.corruptions) > 1 and not one.standard for one in summaries):
        yield f"published means are over the {len(STANDARD)} standard corruptions at all severities, not over these"
    for variant in report.variants:
        if variant.common_corruptions and variant.common_corruptions.mce:
            told = mce_text(variant.common_corruptions.mce, archive=report.data.grouped_by is not None)
            yield f"{variant.bn}/{variant.stats}: {told}"
    if any(len(variant.clean.groups or ()) > 1 or len(made_cells(variant)) > 1 for variant in report.variants):
        more = "" if any(one.mce for one in summaries) else "; mCE is relative to a baseline's errors (--mce-baseline)"
        yield f"mean: of the {several} in its row or column, or of all corruptions and severities{more}"
    if any(len(made_cells(variant)) > 1 and cells_without_result(variant) for variant in report.variants):
        yield "a mean needs all of its corruptions and severities: where one has failed there is none"


def mce_text(found: MeanCorruptionError, *, archive: bool) -> str:
    """Return the mean corruption error in a sentence; an `archive` has no clean images."""
    why = "the clean images are not known" if archive else "the baseline's error does not rise under each of them"
    relative = f"{UNKNOWN} ({why})" if found.relative_mce is None else f"{percent(found.relative_mce)} %"
    none = f"{UNKNOWN} (the baseline makes no error under one of them)"
    mce = none if found.mce is None else f"{percent(found.mce)} %"
    return f"mCE {mce}, relative mCE {relative}, of the errors of {found.baseline} (100 %)"
