"""Many reports as sections of one data set each, whose rows are ranked under every threat model apart.

Only rows that can be paired are in one ranking: the same samples, preset, statistics source and, under batch
statistics, batch size. Under a threat model they are further those that got the complete AutoAttack, or else exactly
the same attacks: a weaker attack leaves a higher robust accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stein_bench.comparison.document import Rated
from stein_bench.comparison.entries import Entry, rated
from stein_bench.comparison.leaderboard import Named, adjusted, difference, tested
from stein_bench.comparison.pairing import CLEAN, doubts, subjects
from stein_bench.comparison.threats import STRENGTHS, Strength, Threat, strength, threats
from stein_bench.measures import Outcome
from stein_bench.report.attack_names import titles
from stein_bench.report.results import AttackResult


@dataclass(frozen=True)
class Standing:
    """What one row has under a threat model, or on clean inputs.

    Attributes:
        figure: worst case over the attacks within the threat model; None without a trustworthy one.
        problem: why there is none, although there are attacks; else empty.
        strength, attacks: how strong the attacks of exactly this budget are, and their names; none on clean inputs.
        ranking: the number of its ranking in `Track.rankings`; None without a figure.
        rank: from 1 on; None if it is alone in its ranking.
        apart: whether a paired test shows a difference from the first of its ranking; true of the first itself.
    """

    figure: Rated | None
    problem: str = ""
    strength: Strength | None = None
    attacks: tuple[str, ...] = ()
    ranking: int | None = None
    rank: int | None = None
    apart: bool = True


class Ranking(NamedTuple):
    """Rows that are ranked with one another: what they have in common, and how many there are."""

    entry: Entry
    strength: Strength | None
    attacks: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Track:
    """A column that ranks: a threat model, or None for clean accuracy; its rankings, those by strong attacks first."""

    threat: Threat | None
    standings: tuple[Standing, ...]
    rankings: tuple[Ranking, ...]


@dataclass(frozen=True)
class Section:
    """The rows of one data set and task, with a standing each in every track; clean accuracy is the first track."""

    entries: tuple[Entry, ...]
    tracks: tuple[Track, ...]

    @property
    def main(self) -> int:
        """The number of the threat model with most figures, the first of several; 0, clean accuracy, without any."""
        counts = [sum(one.figure is not None for one in track.standings) for track in self.tracks[1:]]
        most = max(counts, default=0)
        return 1 + counts.index(most) if most else 0

    def order(self) -> list[int]:
        """Return the numbers of the entries as ranked in the main track, those without a figure there last."""
        return sorted(range(len(self.entries)), key=lambda i: self._place(i))

    def _place(self, number: int) -> tuple[float, float, float, str, str]:
        one, clean = (self.tracks[track].standings[number] for track in (self.main, 0))
        entry = self.entries[number]
        ranking = len(self.entries) if one.ranking is None else one.ranking
        values = [0.0 if standing.figure is None else -standing.figure.value for standing in (one, clean)]
        return ranking, values[0], values[1], entry.source, entry.subject.name


@dataclass
class _Draft:
    """A standing in the making: the outcome that it is ranked by, and with which others."""

    standing: Standing
    outcome: Outcome | None = None
    pool: tuple[object, ...] = field(default=())


def sections(named: Sequence[Named]) -> list[Section]:
    """Return the reports as sections, the largest first.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    by_data: dict[tuple[object, ...], list[Entry]] = {}
    for one in named:
        for subject in subjects(one.report, one.name):
            data = one.report.data
            by_data.setdefault((data.task, data.sha256), []).append(Entry(one.name, subject, doubts(subject)))
    return [_section(entries) for entries in sorted(by_data.values(), key=len, reverse=True)]


def _section(entries: Sequence[Entry]) -> Section:
    found = threats(attack for entry in entries for attack in entry.subject.variant.attacks)
    clean = _track(None, entries, [_clean(entry) for entry in entries])
    under = [_track(threat, entries, [_under(entry, threat) for entry in entries]) for threat in found]
    return Section(tuple(entries), (clean, *under))


def _clean(entry: Entry) -> _Draft:
    if not entry.subject.samples or CLEAN in entry.own_doubts:
        return _Draft(Standing(None, entry.own_doubts.get(CLEAN, "it has no samples")))
    outcome = entry.subject.outcomes[CLEAN]
    return _Draft(Standing(rated(outcome.headline())), outcome, entry.key)


def _under(entry: Entry, threat: Threat) -> _Draft:
    subject, attacks = entry.subject, entry.subject.variant.attacks
    here, within = threat.here(attacks), threat.within(attacks)
    if not here:
        return _Draft(Standing(None))
    how = strength(here, subject.variant.clean.expected_accuracy is not None)
    names = _names(here)
    problem = next(_problems(entry, within), "")
    if problem:
        return _Draft(Standing(None, problem, how, names))
    outcome = subject.worst_case([one.label for one in within])
    alike = () if how == "autoattack" else (frozenset(one.label for one in here),)
    return _Draft(Standing(rated(outcome.headline()), "", how, names), outcome, (*entry.key, how, *alike))


def _names(attacks: Sequence[AttackResult]) -> tuple[str, ...]:
    """Return the names of attacks with one budget, with parameters where names alone do not tell them apart."""
    alone = {one.name for one in attacks if [other.name for other in attacks].count(one.name) == 1}
    shown = titles(attacks)
    return tuple(one.name if one.name in alone else shown[one.label] for one in attacks)


def _problems(entry: Entry, attacks: Sequence[AttackResult]) -> Iterator[str]:
    if not entry.subject.samples:
        yield "it has no samples"
    if CLEAN in entry.own_doubts:
        yield entry.own_doubts[CLEAN]
    names = titles(attacks)
    for label, name in names.items():
        if label in entry.own_doubts:
            yield f"{name}: {entry.own_doubts[label]}"
        elif label not in entry.subject.outcomes:
            yield f"{name}: there is no result"


def _track(threat: Threat | None, entries: Sequence[Entry], drafts: Sequence[_Draft]) -> Track:
    pools: dict[tuple[object, ...], list[int]] = {}
    for number, draft in enumerate(drafts):
        if draft.outcome is not None:
            pools.setdefault(draft.pool, []).append(number)
    order = sorted(pools.values(), key=lambda pool: _weight(pool, entries, drafts))
    standings = {i: draft.standing for i, draft in enumerate(drafts)}
    rankings = []
    for ranking, pool in enumerate(order):
        standings.update(_ranked(ranking, pool, entries, drafts))
        first = drafts[pool[0]].standing
        rankings.append(Ranking(entries[pool[0]], first.strength, first.attacks, len(pool)))
    return Track(threat, tuple(standings[i] for i in range(len(drafts))), tuple(rankings))


def _weight(pool: Sequence[int], entries: Sequence[Entry], drafts: Sequence[_Draft]) -> tuple[int, bool, int]:
    """Return the sort key of rankings: the stronger attacks, then running statistics, then the larger one."""
    how = drafts[pool[0]].standing.strength
    place = 0 if how is None else list(STRENGTHS).index(how)
    return place, entries[pool[0]].subject.variant.stats == "batch", -len(pool)


def _ranked(
    ranking: int, pool: Iterable[int], entries: Sequence[Entry], drafts: Sequence[_Draft]
) -> Mapping[int, Standing]:
    """Return by number the standings of a ranking; its best is held against each other one, p Holm-adjusted."""
    outcomes = {i: outcome for i in pool if (outcome := drafts[i].outcome) is not None}
    values = {i: outcome.value() for i, outcome in outcomes.items()}
    order = sorted(outcomes, key=lambda i: (-values[i], entries[i].source, entries[i].subject.name))
    leader = entries[order[0]].subject
    results = [None, *(tested(outcomes[order[0]], outcomes[i], leader) for i in order[1:])]
    places = [values[i] for i in order]
    found = {}
    for i, result, p in zip(order, results, adjusted(results), strict=True):
        apart = result is None or difference(result, p, leader.batch_size is not None).significant
        rank = 1 + places.index(values[i]) if len(order) > 1 else None
        shown = drafts[i].standing
        found[i] = Standing(shown.figure, "", shown.strength, shown.attacks, ranking, rank, apart)
    return found
