"""Contrasts: every variant of a report minus plain BN under the same statistics, sample by sample. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from stein_bench.comparison.document import Difference
from stein_bench.comparison.leaderboard import adjusted, difference, tested, tested_average
from stein_bench.comparison.pairing import (
    CLEAN,
    WORST_CASE,
    Subject,
    common_averages,
    differences,
    doubts,
    doubts_of,
    other_draws,
    subjects,
)
from stein_bench.measures import Outcome
from stein_bench.report.document import Report
from stein_bench.report.results import VariantResult, headline
from stein_bench.statistics.paired_tests import Paired

PLAIN = "sample"
"""The estimator of plain BN, with which all others are compared."""
COLLAPSE = "clean-accuracy"
"""The sanity check that a collapsed variant fails."""

Mark = Literal["best-above", "best", "above", "below"]


@dataclass(frozen=True)
class Contrast:
    """One accuracy of a variant, minus that of plain BN under the same statistics, on the same samples.

    Attributes:
        variant, reference: their labels, e.g. ``stein/running`` and ``sample/running``.
        accuracy: ``clean``, ``worst-case``, the attack's label, or the key of a mean over corruptions.
        value, reference_value: the two accuracies; mIoU for segmentation.
        difference: with its interval and its p, Holm-adjusted for all contrasts of the report.
    """

    variant: str
    reference: str
    accuracy: str
    value: float
    reference_value: float
    difference: Difference


def contrasts(report: Report) -> list[Contrast]:
    """Return every contrast that can be made honestly, in the report's order.

    Results that failed, are invalid or contradict their own outcomes are excluded; contrasts of a preset have no p.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    drafts = [(first, second, key) for first, second in _pairs(report) for key in _common(first, second)]
    results = [tested(_bits(first, key), _bits(second, key), first) for first, second, key in drafts]
    return _contrasts(drafts, results)


def corruption_contrasts(report: Report) -> list[Contrast]:
    """Return every contrast under corruptions that can be made honestly, see `corruptions.averages`.

    They are adjusted for each other and not together with `contrasts`: the outcome of a report is fixed in advance, and
    does not become harder to show by looking at more corruptions.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    found = [
        (first, second, average)
        for first, second in _pairs(report)
        for average in common_averages(first, second)
        if doubts_of(average, doubts(first) | doubts(second)) is None and not other_draws(first, second, average)
    ]
    results = [tested_average(first, second, average) for first, second, average in found]
    return _contrasts([(first, second, average.key) for first, second, average in found], results)


def _pairs(report: Report) -> list[tuple[Subject, Subject]]:
    """Return plain BN and another variant for each other variant that can be compared with it."""
    found = subjects(report, "the report")
    plain = {subject.variant.stats: subject for subject in found if subject.variant.bn == PLAIN}
    return [
        (plain[subject.variant.stats], subject)
        for subject in found
        if subject.variant.bn != PLAIN
        and subject.variant.stats in plain
        and not differences(subject, plain[subject.variant.stats])
        and subject.samples
    ]


def _contrasts(drafts: Sequence[tuple[Subject, Subject, str]], results: Sequence[Paired]) -> list[Contrast]:
    return [
        Contrast(
            variant=second.name,
            reference=first.name,
            accuracy=key,
            value=result.second,
            reference_value=result.first,
            difference=difference(result, p, first.batch_size is not None),
        )
        for (first, second, key), result, p in zip(drafts, results, adjusted(results), strict=True)
    ]


def _common(first: Subject, second: Subject) -> Iterator[str]:
    """Yield the accuracies that both have and that are doubtful in neither."""
    doubted = doubts(first).keys() | doubts(second).keys()
    both = [key for key in first.outcomes if key in second.outcomes]
    yield from (key for key in both if key not in doubted)
    if len(both) > 2 and WORST_CASE not in doubted and first.outcomes.keys() == second.outcomes.keys():
        yield WORST_CASE


def _bits(subject: Subject, key: str) -> Outcome:
    return subject.worst_case(subject.battery) if key == WORST_CASE else subject.outcomes[key]


def collapsed(report: Report) -> set[str]:
    """Return the labels of the variants that lost their clean accuracy."""
    return {check.variant or "" for check in report.diagnostics if check.name == COLLAPSE and check.status == "fail"}


def accuracies(variant: VariantResult) -> dict[str, float]:
    """Return the headline figures of a variant: clean, each attack with a valid result, and worst case."""
    clean = variant.clean
    shares = {CLEAN: (clean.accuracy, clean.metrics)}
    for attack in variant.attacks:
        if attack.status == "ok" and attack.robust_accuracy is not None:
            shares[attack.label] = (attack.robust_accuracy, attack.metrics)
    if len(variant.attacks) > 1 and variant.worst_case_accuracy is not None:
        shares[WORST_CASE] = (variant.worst_case_accuracy, variant.worst_case_metrics)
    return {key: headline(share, None, metrics).value or 0.0 for key, (share, metrics) in shares.items()}


def marks(report: Report, found: Sequence[Contrast]) -> dict[tuple[str, str], Mark]:
    """Return the marks by variant and accuracy: the best, and those that differ significantly from plain BN.

    The best is the highest of the uncollapsed variants under the same statistics; ties have no best.
    """
    best = set(_best(report))
    marked: dict[tuple[str, str], Mark] = dict.fromkeys(best, "best")
    for contrast in found:
        key = (contrast.variant, contrast.accuracy)
        if not contrast.difference.significant:
            continue
        above = contrast.difference.value > 0
        marked[key] = ("best-above" if key in best else "above") if above else "below"
    return marked


def _best(report: Report) -> Iterator[tuple[str, str]]:
    lost = collapsed(report)
    for stats in dict.fromkeys(variant.stats for variant in report.variants):
        rivals = {f"{v.bn}/{v.stats}": accuracies(v) for v in report.variants if v.stats == stats}
        rivals = {name: values for name, values in rivals.items() if name not in lost}
        for key in dict.fromkeys(key for values in rivals.values() for key in values):
            values = {name: values[key] for name, values in rivals.items() if key in values}
            highest = [name for name, value in values.items() if value == max(values.values())]
            if len(values) > 1 and len(highest) == 1:
                yield highest[0], key
