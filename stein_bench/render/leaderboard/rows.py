"""The rows of the leaderboard page: every cell as text, with what the page sorts and filters by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stein_bench.comparison.corruptions import ranges
from stein_bench.comparison.document import Rated
from stein_bench.comparison.entries import Entry
from stein_bench.comparison.remarks import Remark, remarks
from stein_bench.comparison.standings import Ranking, Section, Standing, Track
from stein_bench.comparison.threats import STRENGTHS, Strength, strength, threats
from stein_bench.report.attack_names import titles
from stein_bench.report.number_format import UNKNOWN, percent
from stein_bench.report.results import CommonCorruptions

WEIGHTS = {
    "pretrained": "pretrained weights",
    "none": "untrained",
    "fit": "trained here",
    "file": "weights from a file",
    "own": "weights of its own",
}
NOT_APART = "≈"
"""Marks a rank whose difference from the first of its ranking is not shown."""
MOST_NAMED = 3
"""So many attacks are named in a cell."""


@dataclass(frozen=True)
class Cell:
    """A cell: its text, a smaller second line, and what it is sorted by (None: last, whatever the direction).

    Attributes:
        group: rows of a smaller one stay above, whatever the direction: weaker attacks are below.
        rank: the rank in this column.
        strength: how strong the attacks were, a key of `STRENGTHS`.
        interval, mark: in percent, the ends of a figure's interval and the figure, to be drawn; a warning below it.
        number, kind: whether it is right-aligned, and a class for the style sheet.
    """

    text: str
    small: str = ""
    sort: float | str | None = None
    group: int = 0
    rank: str = ""
    strength: str = ""
    interval: tuple[str, str, str] | None = None
    mark: str = ""
    number: bool = True
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its key in the address, its header, and whether it is a threat model, and the one that ranks."""

    key: str
    title: str
    unit: str = ""
    number: bool = True
    threat: bool = False


@dataclass(frozen=True)
class Line:
    """A row: its cells, and what it is filtered by."""

    cells: tuple[Cell, ...]
    remarks: tuple[Remark, ...]
    bn: str
    stats: str
    failed: bool


def columns(section: Section, mce: bool, corrupted: bool) -> list[Column]:
    """Return the columns of a section, the rank first."""
    what = "mIoU" if _graded(section) else "accuracy"
    main = section.tracks[section.main].threat
    found = [
        Column("rank", "rank", f"by {main.title if main else 'clean'}", threat=False),
        Column("model", "model", number=False),
        Column("bn", "BN", "statistics", number=False),
        Column("clean", f"clean {what}", "%"),
    ]
    found += [Column(track_key(track), track.threat.title, f"robust {what}, %", threat=True) for track in section.tracks
              if track.threat]  # fmt: skip
    if corrupted:
        found.append(Column("corruptions", "corruptions", f"{what}, %"))
    if mce:
        found.append(Column("mce", "mCE", "%, less is better"))
    return [
        *found,
        Column("attacks", "attacked by", number=False),
        Column("samples", "samples"),
        Column("parameters", "parameters"),
        Column("passes", "passes", "per sample"),
        Column("seconds", "seconds"),
    ]


def _graded(section: Section) -> bool:
    return section.entries[0].subject.report.data.task == "segmentation"


def track_key(track: Track) -> str:
    """Return the key of a track in the page's address, e.g. ``Linf-8/255``."""
    return "clean" if track.threat is None else track.threat.title.replace(", ", "-").replace(" ", "-")


def letters(track: Track) -> dict[int, str]:
    """Return the letter of each ranking with several rows; none if there is only one such ranking."""
    several = [number for number, ranking in enumerate(track.rankings) if ranking.rows > 1]
    return {number: _letter(place) for place, number in enumerate(several)} if len(several) > 1 else {}


def _letter(number: int) -> str:
    more, last = divmod(number, 26)
    return (_letter(more - 1) if more else "") + chr(ord("A") + last)


def lines(section: Section, paths: Mapping[str, str], mce: bool, corrupted: bool) -> list[Line]:
    """Return the rows of a section in the order of its main ranking; `paths` are those of the reports by name."""
    told = remarks(section.entries)
    named = [letters(track) for track in section.tracks]
    found = []
    for number in section.order():
        entry = section.entries[number]
        tracks = [(t, t.standings[number], known) for t, known in zip(section.tracks, named, strict=True)]
        cells = [rate_cell(standing, track, known) for track, standing, known in tracks]
        main = cells[section.main]
        rank = Cell(main.rank or UNKNOWN, sort=main.sort, group=main.group)
        where = paths.get(entry.source, entry.source)
        report, variant = entry.subject.report, entry.subject.variant
        source = f"{WEIGHTS[variant.weights.kind]} · {where}"
        if report.model.source != report.model.name:
            source = f"{report.model.source} · {source}"
        size = entry.subject.batch_size
        stats = f"{variant.stats} statistics" + (f", batches of {size}" if size else "")
        line = [
            rank,
            Cell(report.model.name, source, report.model.name.lower(), number=False),
            Cell(variant.bn, stats, f"{variant.bn} {variant.stats}".lower(), number=False),
            *cells,
            *([_corrupted(variant.common_corruptions)] if corrupted else []),
            *([_mce(variant.common_corruptions)] if mce else []),
            *_further(entry),
        ]
        failed = any(remark.kind == "fail" for remark in told[number])
        found.append(Line(tuple(line), tuple(told[number]), variant.bn, variant.stats, failed))
    return found


def rate_cell(standing: Standing, track: Track, known: Mapping[int, str]) -> Cell:
    """Return a figure with its interval, its rank, and by which attacks it is an upper bound."""
    strength = standing.strength or ""
    if standing.figure is None:
        return Cell(UNKNOWN, standing.problem, strength=strength, group=len(track.rankings))
    ranking = standing.ranking or 0
    rank = ""
    if standing.rank is not None:
        letter = f"{known[ranking]} " if ranking in known else ""
        rank = f"{letter}{standing.rank}{'' if standing.apart else f' {NOT_APART}'}"
    weak = strength not in ("", "autoattack")
    mark = f"upper bound by {_named(standing.attacks)} only" if weak else ""
    figure = standing.figure
    low, high = figure.interval
    ends = (f"{100 * low:.1f}", f"{100 * high:.1f}", f"{100 * figure.value:.1f}")
    return Cell(percent(figure.value), _between(figure), figure.value, ranking, rank, strength, ends, mark)


def _between(figure: Rated) -> str:
    return f"{percent(figure.interval[0])}–{percent(figure.interval[1])}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _corrupted(found: CommonCorruptions | None) -> Cell:
    if found is None:
        return Cell(UNKNOWN)
    severities = sorted({severity for one in found.corruptions.values() for severity in one.severities})
    count = len(found.corruptions)
    over = "the 15 standard ones" if found.standard else f"{count} corruption{'s' if count > 1 else ''}"
    mark = "" if found.standard else f"{over} at {ranges(severities)}"
    figure = Rated(value=found.accuracy, interval=found.ci95)
    return Cell(percent(found.accuracy), _between(figure), found.accuracy, group=0 if found.standard else 1, mark=mark)


def _mce(found: CommonCorruptions | None) -> Cell:
    mce = found.mce if found else None
    if mce is None or mce.mce is None:
        return Cell(UNKNOWN)
    return Cell(percent(mce.mce), f"relative to {mce.baseline}", mce.mce)


def _further(entry: Entry) -> Iterator[Cell]:
    report, variant = entry.subject.report, entry.subject.variant
    names = list(titles(variant.attacks).values())
    best = min((list(STRENGTHS).index(key) for key in _strengths(entry)), default=len(STRENGTHS))
    yield Cell(_named(names) or "no attack", sort=best if names else None, number=False, kind="attacks")
    yield Cell(f"{entry.subject.samples:,}", sort=entry.subject.samples)
    yield Cell(_short(report.model.parameters), sort=report.model.parameters)
    forward = sum(one.forward_passes for one in variant.attacks)
    backward = sum(one.backward_passes for one in variant.attacks)
    per = max(entry.subject.samples, 1)
    if variant.attacks:
        cost = (forward + backward) / per
        yield Cell(_count(cost), f"{_count(forward / per)} + {_count(backward / per)}", cost, kind="passes")
    else:
        yield Cell(UNKNOWN)
    seconds = variant.clean.seconds
    seconds += sum(one.seconds for one in variant.attacks) + sum(one.seconds for one in variant.corruptions)
    where = report.run.environment
    device = where.device if report.run.processes is None else f"{report.run.processes.count} × {where.device}"
    yield Cell(_count(seconds), f"{device}, {where.precision}", seconds)


def _strengths(entry: Entry) -> Iterator[Strength]:
    attacks = entry.subject.variant.attacks
    for threat in threats(attacks):
        yield strength(threat.here(attacks), entry.subject.variant.clean.expected_accuracy is not None)


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 9.95 or number == 0 else f"{number:.1f}"


def _short(number: int) -> str:
    """Write a number of parameters with three figures, e.g. ``11.2 M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def legend(track: Track) -> list[str]:
    """Explain the rankings of a track, if there are several, and those of a single row."""
    known = letters(track)
    found = [f"{letter}: {_ranking(track.rankings[number], track)}" for number, letter in known.items()]
    alone = sum(ranking.rows == 1 for ranking in track.rankings)
    if alone and track.rankings:
        verb = "is" if alone == 1 else "are each"
        found.append(f"{alone} row{'s' if alone > 1 else ''} {verb} alone: nothing else got the same attacks on the "
                     "same samples and statistics")  # fmt: skip
    return found


def _ranking(ranking: Ranking, track: Track) -> str:
    subject = ranking.entry.subject
    parts = []
    if ranking.strength == "autoattack":
        parts.append("complete AutoAttack")
    elif ranking.strength is not None:
        parts.append(f"upper bounds by {_named(ranking.attacks)}")
    size = subject.batch_size
    parts.append(f"{subject.variant.stats} statistics" + (f" (batches of {size})" if size else ""))
    if subject.report.run.preset:
        parts.append(f"preset {subject.report.run.preset}")
    if len({one.entry.subject.variant.outcomes.sample_ids_sha256 for one in track.rankings}) > 1:
        parts.append(f"samples {subject.variant.outcomes.sample_ids_sha256[:8]}")
    return f"{', '.join(parts)}: {ranking.rows} rows"
