"""The note on a search that was made on a random subset of the survivors."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.report.attack_names import titles
from stein_bench.report.document import Report
from stein_bench.report.results import Unsearched


def unsearched_notes(report: Report) -> Iterator[str]:
    """Yield, for each attack with such a search, what it broke and how much lower the robust accuracy could be."""
    for variant in report.variants:
        names = titles(variant.attacks)
        for attack in variant.attacks:
            if attack.unsearched is not None:
                where = f"{variant.bn} ({variant.stats}), {names[attack.label]}"
                yield f"{where}: {_told(attack.unsearched)}"


def _told(found: Unsearched) -> str:
    if not found.searched:
        return (
            f"{found.attack} ran in full on none of the {found.survivors:,} samples that survived everything else: "
            "none was drawn, so nothing bounds what it would break"
        )
    text = (
        f"{found.attack} ran in full on a random {found.searched:,} of the {found.survivors:,} samples that survived "
        f"everything else, and broke {found.broken:,}; on all of them it would make the robust accuracy at most "
        f"{100 * found.at_most_lower:.1f} points lower (95 %)"
    )
    return f"{text}; if gradients are sound it seldom breaks any: strongest runs it on all" if found.broken else text
