"""Comparison of reports: which accuracies are comparable, and their paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stein_bench.comparison.corruptions import CORRUPTIONS, Average, averages, listed, together, versions
from stein_bench.comparison.document import COMPARE_VERSION, CorruptionErrors, Leaderboard, PairRow, PairTable
from stein_bench.comparison.leaderboard import (
    Named,
    adjusted,
    difference,
    graded,
    leaderboard,
    notes,
    sources,
    tested,
    tested_average,
)
from stein_bench.comparison.pairing import (
    CLEAN,
    WORST_CASE,
    Subject,
    common_averages,
    differences,
    doubts,
    doubts_of,
    other_draws,
    own_averages,
    subjects,
)
from stein_bench.errors import UsageError
from stein_bench.measures import Outcome
from stein_bench.measures.mce import corruption_error, mce, relative_mce
from stein_bench.report.attack_names import titles
from stein_bench.statistics.paired_tests import Paired

ALL = "*"
"""Means every accuracy of a variant."""


def compare(named: Sequence[Named]) -> PairTable | Leaderboard:
    """Compare the variants of one report, two reports with each other, or more reports as a leaderboard.

    Raises:
        UsageError: there is nothing to compare, or packed outcomes are damaged.
    """
    if not named:
        raise UsageError("no report given. Name one with several variants, or several reports.")
    if len(named) > 2:
        return leaderboard(named)
    found = [subjects(one.report, one.name) for one in named]
    if len(named) == 1 and len(found[0]) < 2:
        raise UsageError(
            f"{named[0].name} contains one variant: there is nothing to compare it with. Name another report."
        )
    tried = list(_within(found[0]) if len(named) == 1 else _between(*found))
    drafts = [draft for one in tried for draft in _drafts(one)]
    return PairTable(
        compare_version=COMPARE_VERSION,
        kind="pairs",
        sources=sources(named),
        rows=tuple(_finished(drafts)),
        notes=(
            *notes([subject for group in found for subject in group]),
            *(note for one in tried for note in _not_paired(one)),
        ),
        graded=graded([subject for group in found for subject in group]),
        errors=tuple(errors for one in tried if (errors := _errors(one)) is not None),
    )


@dataclass(frozen=True)
class _Pair:
    """Two variants to compare; None for a missing partner, with the reason."""

    first: Subject | None
    second: Subject | None
    reason: str = ""


def _within(found: Sequence[Subject]) -> Iterator[_Pair]:
    """Pair every variant of a report with the first one under the same statistics source."""
    references: dict[str, Subject] = {}
    for subject in found:
        references.setdefault(subject.variant.stats, subject)
    for subject in found:
        reference = references[subject.variant.stats]
        if subject is not reference:
            yield _Pair(reference, subject)
        elif not any(other.variant.stats == subject.variant.stats for other in found if other is not subject):
            yield _Pair(subject, None, "the only variant under its source of statistics")


def _between(first: Sequence[Subject], second: Sequence[Subject]) -> Iterator[_Pair]:
    """Pair variants by name, and the two left over if there is one per report under the same statistics source."""
    others = {subject.name: subject for subject in second}
    known = {subject.name for subject in first}
    lonely = [subject for subject in first if subject.name not in others]
    left = [subject for subject in second if subject.name not in known]
    for subject in first:
        if subject.name in others:
            yield _Pair(subject, others[subject.name])
    if len(lonely) == len(left) == 1 and lonely[0].variant.stats == left[0].variant.stats:
        yield _Pair(lonely[0], left[0])
        return
    yield from (_Pair(subject, None, "only in the first report") for subject in lonely)
    yield from (_Pair(None, subject, "only in the second report") for subject in left)


@dataclass(frozen=True)
class _Draft:
    """A row whose p is not yet adjusted."""

    row: PairRow
    result: Paired | None
    batch_dependent: bool


def _drafts(pair: _Pair) -> Iterator[_Draft]:
    first, second = pair.first, pair.second
    if first is None or second is None:
        yield _marked(first, second, ALL, "all", pair.reason)
        return
    if reasons := differences(second, first):
        yield _marked(first, second, ALL, "all", "; ".join(reasons))
        return
    sides = ((second, "second"), (first, "first"))
    doubted = {key: f"{side}: {reason}" for subject, side in sides for key, reason in doubts(subject).items()}
    attacks = {attack.label: attack for attack in (*first.variant.attacks, *second.variant.attacks)}
    labels, names = list(attacks), titles(list(attacks.values()))
    for key in (CLEAN, *labels):
        title = names.get(key, key)
        missing = next((s for s in (first, second) if key not in s.outcomes), None)
        if key in doubted:
            yield _marked(first, second, key, title, doubted[key])
        elif missing is not None:
            yield _marked(first, second, key, title, f"the {'first' if missing is first else 'second'} has no result")
        else:
            yield _compared(first, second, key, title, first.outcomes[key], second.outcomes[key])
    common = [key for key in labels if key in first.outcomes and key in second.outcomes and key not in doubted]
    if len(labels) > 1 and common:
        title = "worst case" if len(common) == len(labels) else f"worst case of {len(common)} common"
        yield _compared(first, second, WORST_CASE, title, first.worst_case(common), second.worst_case(common))
    yield from _corrupted(first, second, doubted)


def _corrupted(first: Subject, second: Subject, doubted: Mapping[str, str]) -> Iterator[_Draft]:
    """Compare what both have under corruptions, and mark the rest."""
    common = common_averages(first, second)
    for average in common:
        if reason := _obstacle(first, second, average, doubted):
            yield _marked(first, second, average.key, average.title, reason)
        else:
            result = tested_average(first, second, average)
            yield _drafted(first, second, average.key, average.title, result, versions(first.corrupted, average.labels))
    keys = {average.key for average in common}
    for one, other, side in ((first, second, "second"), (second, first, "first")):
        theirs = {result.label for result in other.variant.corruptions}
        alone = averages(result for result in one.variant.corruptions if result.label not in theirs)
        for average in alone if own_averages(one) else ():
            if average.key not in keys | {CORRUPTIONS}:
                yield _marked(first, second, average.key, average.title, f"the {side} has no result")


def _not_paired(pair: _Pair) -> Iterator[str]:
    """Yield the severities that only one of two variants has, of common corruptions that are compared at others."""
    first, second = pair.first, pair.second
    if first is None or second is None or differences(second, first):
        return
    keys = {average.key for average in common_averages(first, second)}
    for one, other, side in ((first, second, "first"), (second, first, "second")):
        theirs = {result.label for result in other.variant.corruptions}
        known = {result.label: result for result in one.variant.corruptions}
        alone = averages(result for label, result in known.items() if label not in theirs)
        labels = [label for average in alone if average.key in keys - {CORRUPTIONS} for label in average.labels]
        if labels:
            yield f"{one.name}: only the {side} has {listed(known[label] for label in labels)}: not compared"


def _obstacle(first: Subject, second: Subject, average: Average, doubted: Mapping[str, str]) -> str:
    """Return why two variants cannot be compared under these corruptions; empty if they can."""
    reason = doubts_of(average, doubted)
    if reason is None and other_draws(first, second, average):
        return "other numbers of draws"
    return reason or ""


def _errors(pair: _Pair) -> CorruptionErrors | None:
    """Return the second's errors under common corruptions relative to the first's; None if it has fewer than two."""
    first, second = pair.first, pair.second
    if first is None or second is None or differences(second, first):
        return None
    found = common_averages(first, second)
    doubted = doubts(first) | doubts(second)
    if not any(average.key == CORRUPTIONS and doubts_of(average, doubted) is None for average in found):
        return None
    apart = [average for average in found if average.key.startswith(f"{CORRUPTIONS}/")]
    base, errors = (
        {
            average.key.partition("/")[2]: [1 - together(one.corrupted, [label]).value() for label in average.labels]
            for average in apart
        }
        for one in (first, second)
    )
    clean = [1 - _clean(one) for one in (second, first)]
    return CorruptionErrors(
        first=first.name,
        second=second.name,
        mce=mce(errors, base),
        relative_mce=None if CLEAN in doubted else relative_mce(errors, clean[0], base, clean[1]),
        corruption_errors={name: corruption_error(own, base[name]) for name, own in errors.items()},
    )


def _clean(subject: Subject) -> float:
    """Return the clean accuracy, of a random model the expected one, as those under corruptions are."""
    expected = subject.variant.clean.expected_accuracy
    return subject.outcomes[CLEAN].value() if expected is None else expected.value


def _compared(first: Subject, second: Subject, key: str, title: str, one: Outcome, other: Outcome) -> _Draft:
    return _drafted(first, second, key, title, tested(one, other, first))


def _drafted(first: Subject, second: Subject, key: str, title: str, result: Paired, number: int = 1) -> _Draft:
    """Return a row; its accuracy is a mean over a `number` of versions of each sample."""
    row = PairRow(
        first=first.name,
        second=second.name,
        accuracy=key,
        title=title,
        samples=result.n // number,
        first_accuracy=result.first,
        second_accuracy=result.second,
        difference=None,
        reason="",
        versions=None if number == 1 else number,
    )
    return _Draft(row, result, first.batch_size is not None)


def _marked(first: Subject | None, second: Subject | None, key: str, title: str, reason: str) -> _Draft:
    row = PairRow(
        first=first.name if first else "",
        second=second.name if second else "",
        accuracy=key,
        title=title,
        samples=0,
        first_accuracy=None,
        second_accuracy=None,
        difference=None,
        reason=reason,
    )
    return _Draft(row, None, False)


def _finished(drafts: Sequence[_Draft]) -> Iterator[PairRow]:
    results = [draft.result for draft in drafts]
    for draft, p in zip(drafts, adjusted(results), strict=True):
        if draft.result is None:
            yield draft.row
        else:
            yield draft.row.model_copy(update={"difference": difference(draft.result, p, draft.batch_dependent)})
