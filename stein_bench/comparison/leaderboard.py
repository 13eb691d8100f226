"""Variants ranked by worst-case accuracy; those that cannot be ranked with the others are marked, not omitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stein_bench.comparison.corruptions import CORRUPTIONS, Average, averages, together, versions, versus
from stein_bench.comparison.document import (
    COMPARE_VERSION,
    BoardRow,
    Column,
    Difference,
    FailedModel,
    Leaderboard,
    Rated,
    Source,
)
from stein_bench.comparison.entries import Entry, rated
from stein_bench.comparison.pairing import (
    CLEAN,
    WORST_CASE,
    Subject,
    differences,
    doubts,
    doubts_of,
    own_averages,
    subjects,
)
from stein_bench.measures import Outcome
from stein_bench.report.attack_names import SEVERITY, SOURCE, titles
from stein_bench.report.document import Report
from stein_bench.report.results import AttackResult, MeanCorruptionError, headline
from stein_bench.statistics.paired_tests import Paired, holm

CLUSTERED = (
    "versions of one base image are not independent of each other: tests exchange whole base images, under batch "
    "statistics blocks of whole batches and base images (none below 10 of them), intervals are those of as many "
    "samples as there are base images"
)
"""How samples are compared of which several are versions of one base image."""


MOST_NAMED = 5
"""Of models without a report, so many are named."""


@dataclass(frozen=True)
class Named:
    """A report and its name in the comparison."""

    name: str
    report: Report


def sources(named: Sequence[Named]) -> tuple[Source, ...]:
    """Return the origin of each report."""
    return tuple(
        Source(name=one.name, id=one.report.run.id, created=one.report.run.created, model=one.report.model.name)
        for one in named
    )


def adjusted(results: Sequence[Paired | None]) -> list[float | None]:
    """Return the two-sided p of each result, Holm-adjusted over those that have one."""
    ps = [(i, result.p) for i, result in enumerate(results) if result is not None]
    tested = [(i, p) for i, p in ps if p is not None]
    found: list[float | None] = [None] * len(results)
    for (i, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        found[i] = p
    return found


def tested(first: Outcome, second: Outcome, subject: Subject) -> Paired:
    """Compare two outcomes by the test that fits the samples of `subject`; a preset gets no tests."""
    return _untested(first.versus(second, subject.batch_size), subject)


def tested_average(first: Subject, second: Subject, average: Average) -> Paired:
    """Compare two variants under corruptions that both have in equally many draws; a preset gets no tests."""
    one, other = (together(subject.corrupted, average.labels) for subject in (first, second))
    return _untested(versus(one, other, first.batch_size, versions(first.corrupted, average.labels)), first)


def _untested(result: Paired, subject: Subject) -> Paired:
    return result if subject.report.run.preset is None else replace(result, p_drop=None, p_gain=None)


def difference(result: Paired, p_adjusted: float | None, batch_dependent: bool) -> Difference:
    """Convert a paired result to its part of the document."""
    return Difference(
        value=result.difference,
        interval=result.interval,
        lost=result.lost,
        gained=result.gained,
        p=result.p,
        p_adjusted=p_adjusted,
        assumes_independence=batch_dependent,
    )


VERSIONS = (
    "accuracies under corruptions are means over versions of every sample, its draws and severities, which are not "
    "independent of each other: −/+ count versions, tests exchange whole samples, under batch statistics whole batches "
    "(none below 10 of them), intervals are those of a single version of each sample"
)
"""How accuracies are compared that are means over several versions of each sample."""

GRADED = (
    "corruptions are not compared: images of a segmentation are graded, and a mean of their mIoU has no paired test"
)
"""Why corruptions of a segmentation are left out."""


MAJORITIES = (
    "random models: a sample counts as right if more than half of its draws are; their expected accuracies are in the "
    "reports"
)
"""The note on what is compared of random models."""


def graded(found: Sequence[Subject]) -> bool:
    """Return whether figures are mIoU, i.e. whether any of the reports is for segmentation."""
    return any(subject.report.data.task == "segmentation" for subject in found)


def notes(found: Sequence[Subject]) -> Iterator[str]:
    """Yield the notes needed to read a comparison of these variants."""
    if any(subject.batch_size is not None for subject in found):
        yield (
            "batch statistics couple the samples of a batch: tests exchange whole batches (none below 10), "
            "intervals assume independence"
        )
    if any(subject.variant.outcomes.cluster_size for subject in found):
        yield CLUSTERED
    if any(versions(s.corrupted, average.labels) > 1 for s in found for average in own_averages(s)):
        yield VERSIONS
    if graded(found) and any(subject.variant.corruptions for subject in found):
        yield GRADED
    if any(subject.variant.clean.expected_accuracy is not None for subject in found):
        yield MAJORITIES
    drawn = [s for s in found if any(SOURCE not in corruption.params for corruption in s.variant.corruptions)]
    seeds = dict.fromkeys(subject.report.run.seed for subject in drawn)
    if len(seeds) > 1:
        yield (
            f"corruptions were drawn with different seeds ({', '.join(map(str, seeds))}): the samples of a pair are "
            "the same, the draws are not"
        )
    for preset in dict.fromkeys(subject.report.run.preset for subject in found if subject.report.run.preset):
        yield f"preset {preset}: no paired tests, because its variants may differ in more than one respect"
    networks = dict.fromkeys(subject.report.run.attacked() for subject in found)
    if len(networks) > 1:
        yield (
            f"attacks ran on different networks ({'; '.join(networks)}): a weaker attack leaves a higher robust "
            "accuracy"
        )
    for name in dict.fromkeys(subject.name for subject in found if subject.variant.function_preserved):
        yield (
            f"{name} was converted with its function preserved; without fine-tuning it computes the original network's "
            "function under running statistics: not a result"
        )


def leaderboard(
    named: Sequence[Named], *, failed: Sequence[FailedModel] = (), unfinished: Sequence[str] = ()
) -> Leaderboard:
    """Rank every variant of the reports by worst-case accuracy.

    The largest group of comparable variants (same samples, statistics and preset) is ranked, over the attacks that most
    of its members have; the others follow, marked with the differences. If groups are equally large, the first one
    counts.

    Args:
        named: the reports.
        failed: models of a sweep that have none.
        unfinished: names of models of a sweep that are still to be evaluated, which a note counts.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    entries = [Entry(one.name, s, doubts(s)) for one in named for s in subjects(one.report, one.name)]
    group = _largest(entries)
    battery = _battery(group)
    reasons = [_reasons(entry, group, battery) for entry in entries]
    ranked = sorted(
        (entry for entry, why in zip(entries, reasons, strict=True) if not why), key=lambda e: _standing(e, battery)
    )
    marked = sorted(
        ((entry, why) for entry, why in zip(entries, reasons, strict=True) if why),
        key=lambda pair: _standing(pair[0], pair[0].subject.battery),
    )
    corrupted = _corruptions(group)
    rows = [*_ranked_rows(ranked, battery), *(_row(e, e.subject.battery, reasons=why) for e, why in marked)]
    rows = [
        row.model_copy(update={"corruptions": _under_corruptions(entry, corrupted), "mce": _mce(entry, corrupted)})
        for row, entry in zip(rows, [*ranked, *(entry for entry, _ in marked)], strict=True)
    ]
    attacks = {attack.label: attack for entry in entries for attack in entry.subject.variant.attacks}
    return Leaderboard(
        compare_version=COMPARE_VERSION,
        kind="leaderboard",
        sources=sources(named),
        columns=_columns(list(attacks.values()), battery),
        battery=battery,
        samples=group[0].subject.samples if group else 0,
        rows=tuple(rows),
        notes=(*notes([entry.subject for entry in entries]), *_note_on(unfinished)),
        graded=graded([entry.subject for entry in entries]),
        failed=tuple(failed),
        corruptions=tuple(Column(label=average.key, title=average.title) for average in corrupted),
    )


def _note_on(unfinished: Sequence[str]) -> Iterator[str]:
    if unfinished:
        first, more = ", ".join(unfinished[:MOST_NAMED]), ", …" if len(unfinished) > MOST_NAMED else ""
        yield f"models of the sweep without a report so far: {len(unfinished)} ({first}{more})"


def _largest(entries: Sequence[Entry]) -> list[Entry]:
    sizes = Counter(entry.key for entry in entries)
    best = max(sizes, key=lambda key: sizes[key], default=None)  # ties: the first
    return [entry for entry in entries if entry.key == best]


def _battery(group: Sequence[Entry]) -> tuple[str, ...]:
    batteries = Counter(frozenset(entry.subject.battery) for entry in group)
    best = max(batteries, key=lambda battery: batteries[battery], default=frozenset[str]())
    return next((tuple(e.subject.battery) for e in group if frozenset(e.subject.battery) == best), ())


def _corruptions(group: Sequence[Entry]) -> list[Average]:
    """Return the accuracies under the corruptions that most of a group have, so that all means are over the same."""
    sets = Counter(frozenset(entry.subject.corrupted) for entry in group)
    best = max(sets, key=lambda labels: sets[labels], default=frozenset[str]())
    for entry in group:
        if frozenset(entry.subject.corrupted) == best:
            return averages(one for one in entry.subject.variant.corruptions if one.label in best)
    return []


def _under_corruptions(entry: Entry, corrupted: Sequence[Average]) -> dict[str, Rated]:
    """Return by key the accuracies for which a variant has all results, none of them doubtful."""
    subject = entry.subject
    return {
        average.key: rated(together(subject.corrupted, average.labels).headline())
        for average in corrupted
        if subject.samples
        and all(label in subject.corrupted for label in average.labels)
        and doubts_of(average, entry.own_doubts) is None
    }


def _mce(entry: Entry, corrupted: Sequence[Average]) -> MeanCorruptionError | None:
    """Return the mean corruption error of a report if it is over exactly the leaderboard's common corruptions."""
    found = entry.subject.variant.common_corruptions
    wanted = {label for average in corrupted if average.key.startswith(CORRUPTIONS) for label in average.labels}
    own = {result.label for result in entry.subject.variant.corruptions if SEVERITY in result.params}
    return found.mce if found is not None and wanted == own and not own & entry.own_doubts.keys() else None


def _reasons(entry: Entry, group: Sequence[Entry], battery: Sequence[str]) -> tuple[str, ...]:
    """Return why an entry cannot be ranked; empty if it can."""
    subject = entry.subject
    found = differences(subject, group[0].subject)
    names = {label: title for other in group for label, title in titles(other.subject.variant.attacks).items()}
    if not found:
        found += [f"{names.get(label, label)} is missing" for label in battery if label not in subject.outcomes]
    found += [reason for key, reason in entry.own_doubts.items() if key in (CLEAN, *battery)]
    if not subject.samples:
        found.append("it has no samples")
    return tuple(dict.fromkeys(found))


def _standing(entry: Entry, battery: Sequence[str]) -> tuple[float, float, str, str]:
    """Return the sort key: worst case, then clean accuracy (highest first), then name."""
    subject = entry.subject
    if not subject.samples:
        return (1.0, 1.0, entry.source, subject.name)
    clean = subject.outcomes[CLEAN].value()
    worst = subject.worst_case(battery).value() if battery else clean
    return (-worst, -clean, entry.source, subject.name)


def _ranked_rows(ranked: Sequence[Entry], battery: Sequence[str]) -> Iterator[BoardRow]:
    if not ranked:
        return
    leader = ranked[0].subject
    best = leader.worst_case(battery) if battery else leader.outcomes[CLEAN]
    outcomes = [e.subject.worst_case(battery) if battery else e.subject.outcomes[CLEAN] for e in ranked]
    results = [None, *(tested(best, other, leader) for other in outcomes[1:])]
    standings = [-_standing(entry, battery)[0] for entry in ranked]
    for entry, standing, result, p in zip(ranked, standings, results, adjusted(results), strict=True):
        behind = None if result is None else difference(result, p, leader.batch_size is not None)
        yield _row(entry, battery, rank=1 + standings.index(standing), behind=behind)


def _row(
    entry: Entry,
    battery: Sequence[str],
    *,
    rank: int | None = None,
    behind: Difference | None = None,
    reasons: tuple[str, ...] = (),
) -> BoardRow:
    subject, clean = entry.subject, entry.subject.variant.clean
    return BoardRow(
        rank=rank,
        source=entry.source,
        model=subject.report.model.name,
        variant=subject.name,
        clean=rated(headline(clean.accuracy, clean.ci95, clean.metrics)),
        attacks={
            a.label: rated(headline(a.robust_accuracy, a.ci95, a.metrics))
            for a in subject.variant.attacks
            if a.robust_accuracy is not None and a.ci95 is not None
        },
        worst_case=None if WORST_CASE in entry.own_doubts else _rated(subject, battery),
        behind=behind,
        reasons=reasons,
    )


def _rated(subject: Subject, battery: Sequence[str]) -> Rated | None:
    if not battery or not subject.samples:
        return None
    return rated(subject.worst_case(battery).headline())


def _columns(attacks: Sequence[AttackResult], battery: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns: the battery's attacks first, then those that only some variants have."""
    names = titles(attacks)
    order = [*(label for label in battery if label in names), *(label for label in names if label not in battery)]
    return tuple(Column(label=label, title=names[label]) for label in order)
