"""Wording of the gate's comparisons, shared by tables, Markdown and annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stein_bench.comparison.gate_result import Comparison, GateResult
from stein_bench.comparison.leaderboard import CLUSTERED, VERSIONS
from stein_bench.report.number_format import p_value

_NAMES = {
    "regression": ("regression", "regressions"),
    "missing": ("missing result", "missing results"),
    "floor": ("missed minimum", "missed minimums"),
    "unproven": ("unproven drop", "unproven drops"),
    "diagnostic": ("failed sanity check", "failed sanity checks"),
    "blind": ("warning that no drop can be shown", "warnings that no drop can be shown"),
}


DEPENDENT = (
    "under batch statistics samples depend on each other: p is from tests of whole batches, "
    "intervals assume independence"
)
"""Caveat for comparisons with `assumes_independence`."""


def caveats(result: GateResult) -> list[str]:
    """Return what limits the comparisons, because samples depend on each other."""
    told = {
        DEPENDENT: any(c.assumes_independence for c in result.comparisons),
        CLUSTERED: any(c.flipped for c in result.comparisons),
        VERSIONS: any(c.versions for c in result.comparisons),
    }
    return [caveat for caveat, holds in told.items() if holds]


def p_of_change(comparison: Comparison) -> str:
    """Write the adjusted one-sided p for the direction in which the accuracy changed."""
    up = comparison.difference > 0
    return p_value(comparison.p_gain_adjusted if up else comparison.p_drop_adjusted)


def headline(result: GateResult) -> str:
    """Return the verdict with counts of its reasons, without a full stop."""
    if result.verdict == "refused":
        return "refused: these reports cannot be compared honestly"
    errors = _counted([finding.kind for finding in result.findings if finding.level == "error"])
    if result.verdict == "failed":
        return f"failed: {errors}"
    warnings = _counted([finding.kind for finding in result.findings if finding.level == "warning"])
    return f"passed: no proven regression{f', but {warnings}' if warnings else ''}"


def one_line(result: GateResult) -> str:
    """Return the verdict on one line; for a refusal, its reasons."""
    if result.verdict == "refused":
        return f"refused: {'; '.join(result.messages('error'))}"
    return headline(result)


def _counted(kinds: Sequence[str]) -> str:
    return ", ".join(f"{n} {_NAMES[kind][n > 1]}" for kind, n in Counter(kinds).items())


def newly_broken(comparison: Comparison, where: str) -> str:
    """Name the samples (or images with an mIoU each) that got worse, as far as they are listed; `where` is as shown."""
    listed = ", ".join(map(str, comparison.newly_broken))
    if comparison.versions is None and comparison.lost > len(comparison.newly_broken):
        listed += ", …"
    if comparison.versions is not None:
        return f"fewer versions right in {where}: first samples {listed}"
    return f"worse in {where}: images {listed}" if comparison.graded else f"newly wrong in {where}: samples {listed}"


def detectable(result: GateResult) -> str:
    """Return a sentence on the smallest drop that this comparison could have detected."""
    if not result.comparisons:
        return "Nothing was compared."
    drops = sorted({c.detectable_drop for c in result.comparisons if c.detectable_drop is not None})
    samples = sorted({c.samples for c in result.comparisons})
    about = f"{result.tests} tests of {_range([str(n) for n in samples])} samples, α = {result.alpha:g}"
    if not drops:
        return f"No drop could have been significant ({about})."
    sizes = list(dict.fromkeys(f"{100 * drop:.2f}".rstrip("0").rstrip(".") for drop in drops))
    text = f"Smallest detectable drop: {_range(sizes)} points ({about})."
    if any(c.detectable_drop is None for c in result.comparisons):
        text += " Comparisons without p could not detect any drop."
    return text


def _range(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"
