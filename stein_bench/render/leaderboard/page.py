"""Many reports as one page that sorts and filters: its own script is the only one that runs, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stein_bench.comparison.document import ALPHA, Leaderboard, PairTable
from stein_bench.comparison.leaderboard import Named
from stein_bench.comparison.standings import Section, sections
from stein_bench.comparison.threats import STRENGTHS, Strength
from stein_bench.render.comparison.compare import grid
from stein_bench.render.leaderboard.rows import NOT_APART, columns, legend, letters, lines, track_key
from stein_bench.render.pages import page_environment, page_script, tidy

LEAST_STRENGTHS: tuple[Strength, ...] = ("autoattack", "ensemble", "iterated")
"""Strengths that rows can be filtered by."""


def leaderboard_page(result: PairTable | Leaderboard, named: Sequence[Named], paths: Mapping[str, str]) -> str:
    """Return the reports as an HTML document: one section for each data set, below the pairs if they are paired.

    Args:
        result: their comparison.
        named: the reports.
        paths: their files by name, to be shown.

    Raises:
        UsageError: packed outcomes are damaged.
    """
    environment = page_environment()
    found = sections(named)
    board = isinstance(result, Leaderboard)
    heading = "Leaderboard" if board else "Comparison"
    drawn = [_section(section, paths, found) for section in found]
    text = environment.get_template("leaderboard.html").render(
        title=f"{heading}: robustness",
        heading=heading,
        about=_about(named, found),
        own_style="leaderboard.css",
        script=page_script(environment, "leaderboard.js"),
        compared=None if board else grid(result),
        sections=drawn,
        order={key: place for place, key in enumerate(STRENGTHS)},
        data=[(str(number), one["title"]) for number, one in enumerate(drawn, 1)],
        tracks=list(dict.fromkeys((track_key(t), t.threat.title if t.threat else "none: clean accuracy")
                                  for section in found for t in (*section.tracks[1:], section.tracks[0]))),
        strengths=[(str(list(STRENGTHS).index(key)), STRENGTHS[key] + " or stronger" * (key != "autoattack"))
                   for key in LEAST_STRENGTHS],
        bns=[(bn, bn) for bn in dict.fromkeys(e.subject.variant.bn for section in found for e in section.entries)],
        sorts=list(dict.fromkeys((c.key, c.title) for one in drawn for c in one["columns"][1:])),
        failed=result.failed if isinstance(result, Leaderboard) else (),
        notes=[*_reading(found), *(result.notes if board else ())],
    )  # fmt: skip
    return tidy(text)


def _about(named: Sequence[Named], found: Sequence[Section]) -> str:
    counts = [(len(named), "report"), (sum(len(one.entries) for one in found), "row"), (len(found), "data set")]
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts)


def _section(section: Section, paths: Mapping[str, str], found: Sequence[Section]) -> dict[str, Any]:
    data = section.entries[0].subject.report.data
    variants = [entry.subject.variant for entry in section.entries]
    common = [one for variant in variants if (one := variant.common_corruptions) is not None]
    corrupted, mce = bool(common), any(one.mce is not None for one in common)
    same = [other.entries[0].subject.report.data for other in found]
    title = f"{data.name}, {data.split}"
    if sum((other.name, other.split) == (data.name, data.split) for other in same) > 1:
        title += f" ({data.sha256[:8]})"
    return {
        "title": title,
        "about": f"{data.task}, {data.classes} classes, {data.samples:,} samples of {'×'.join(map(str, data.shape))}, "
        f"SHA-256 {data.sha256[:12]}",
        "main": track_key(section.tracks[section.main]),
        "columns": columns(section, mce, corrupted),
        "lines": lines(section, paths, mce, corrupted),
        "legends": [
            {"key": track_key(track), "title": track.threat.title if track.threat else "clean accuracy", "lines": told}
            for track in section.tracks
            if (told := legend(track))
        ],
    }


def _reading(found: Sequence[Section]) -> Iterator[str]:
    yield (
        "Figures are in percent with 95 % intervals, which the bars show from 0 to 100. A robust accuracy is the share "
        "of samples that survive every attack of the report within the threat model (norm, ε and what the attacker "
        "knows): an upper bound, since another attack may break more"
    )
    yield (
        "Ranked with one another are only rows with the same samples, statistics source and preset that got the "
        "complete AutoAttack, or else exactly the same attacks; rows that got weaker attacks are below, whatever "
        "their figures"
    )
    if any(letters(track) for section in found for track in section.tracks):
        yield "A letter before a rank names the ranking, if a column has several"
    yield (
        f"{NOT_APART}: no difference from the first of its ranking is shown (paired test on the same samples, "
        f"two-sided, Holm-adjusted, p < {ALPHA:g}; none for presets and few batches). The first was selected on the "
        "same samples, which overstates its lead"
    )
    yield "Passes: forward + backward passes of all attacks per sample, without verification. Seconds: of everything"
