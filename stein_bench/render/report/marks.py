"""Marks beside figures: the best, and significant differences from plain BN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stein_bench.comparison.contrasts import Contrast, Mark, contrasts, marks
from stein_bench.comparison.document import ALPHA
from stein_bench.report.document import Report

SIGNS: dict[Mark, str] = {"best-above": "▲", "best": "△", "above": "+", "below": "−"}
"""One character each, readable without color."""
_MEANINGS: dict[Mark, str] = {
    "best-above": "best, and significantly above plain BN",
    "best": "best, without a significant gain over plain BN",
    "above": "significantly above plain BN",
    "below": "significantly below plain BN",
}
Marked = Mapping[tuple[str, str], Mark]


def legend(report: Report) -> list[str]:
    """Explain the marks that a report uses."""
    found = contrasts(report)
    return list(legend_of(report, marks(report, found), found))


def legend_of(report: Report, marked: Marked, found: Sequence[Contrast]) -> Iterator[str]:
    """Explain the marks that are used in a report."""
    used = [mark for mark in SIGNS if mark in marked.values()]
    if used:
        told = "; ".join(f"{SIGNS[mark]} {_MEANINGS[mark]}" for mark in used)
        tests = sum(contrast.difference.p_adjusted is not None for contrast in found)
        how = "paired permutation tests over images" if report.data.task == "segmentation" else "exact paired tests"
        tested = f"{how}, Holm over {tests} tests, p < {ALPHA:g}" if tests else "no paired test"
        yield f"{told} (same statistics and samples; {tested})"
