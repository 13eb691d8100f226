"""Registered contrasts in words: their names, figures, and what each shows."""

from __future__ import annotations

from collections.abc import Iterator

from stein_bench.report.number_format import UNKNOWN, p_value, signed, signed_interval
from stein_bench.reproduction.document import Registered, Reproduction
from stein_bench.reproduction.pilots import OWN_CELLS
from stein_bench.reproduction.planning import power_lines, stopping_line
from stein_bench.reproduction.summary import ACCURACY

HEADING = "Pre-registered contrasts: differences in points (95 % interval), p adjusted over these alone"
HEADERS = ("contrast", "seeds", "difference", "p", "adjusted p")


def registered_rows(document: Reproduction) -> list[tuple[str, ...]]:
    """Return one row of strings under `HEADERS` for each registered contrast."""
    return [
        (contrast_name(one, document), str(one.seeds), _difference(one), p_value(one.p), p_value(one.p_adjusted))
        for one in document.registered or ()
    ]


def registered_sentences(document: Reproduction) -> list[str]:
    """Return what each registered contrast shows, one sentence without a final point each."""
    found = document.registered or []
    tests = document.registered_tests or len(found)
    return [f"{contrast_name(one, document)}: {_shown(one, tests)}{_but(one, document)}" for one in found]


def _but(one: Registered, document: Reproduction) -> str:
    """Return that a variant of the contrast has collapsed; empty if none has."""
    variants = [name for name in (f"{one.bn}/{one.stats}", one.against) if has_collapsed(document, one.part, name)]
    return f"; meaningless, since the clean accuracy of {' and '.join(variants)} has collapsed" if variants else ""


def has_collapsed(document: Reproduction, part: str, variant: str) -> bool:
    """Return whether the clean accuracy of a variant, e.g. ``stein/batch``, has collapsed in a part."""
    return any(line.startswith(f"{part}, {variant}:") for line in document.collapsed)


def contrast_name(one: Registered, document: Reproduction) -> str:
    """Return the name of a contrast, with its part if the document has several and its metric if not accuracy.

    The reference is left out: plain BN under the same statistics, or running statistics.
    """
    parts = {row.part for row in document.rows}
    variant = f"{one.bn}/{one.stats}" if one.kind == "estimator" else f"{one.bn} batch − running"
    where = f"{one.part}: " if len(parts) > 1 else ""
    metric = "" if one.metric == ACCURACY else f", {one.metric}"
    return f"{where}{variant}, {one.title}{metric}"


def _difference(one: Registered) -> str:
    if one.mean is None:
        return UNKNOWN
    return signed(one.mean) if one.ci95 is None else signed_interval(one.mean, one.ci95)


def _shown(one: Registered, registered: int) -> str:
    if one.mean is None:
        return "no result, its cells have failed"
    if one.ci95 is None:
        return "no test: one seed" if one.seeds == 1 else "no test: the difference is the same in all seeds"
    low, high = one.ci95
    if one.decided:
        nearer, farther = sorted((abs(low), abs(high)))
        word = "higher" if one.mean > 0 else "lower"
        return f"{word} by {100 * abs(one.mean):.1f} points ({100 * nearer:.1f} to {100 * farther:.1f})"
    excluded = f"differences below {signed(low)} or above {signed(high)} points are excluded at 95 %"
    if low > 0 or high < 0:
        return f"no difference shown after adjustment for {registered} contrasts, though alone its interval excludes 0"
    return f"no difference shown; {excluded}"


def planning_notes(document: Reproduction) -> Iterator[str]:
    """Yield what the seeds could show, as known before the run or from its own cells, and how `--until` ended."""
    if document.power is not None:
        power = document.power
        name = f"{power.bn}/{power.stats} minus {power.against}"
        known = "from cells of the experiment itself, so not known before them," * (power.pilot == OWN_CELLS)
        start = ", with the seeds at the start" * (len(document.seeds) != power.seeds)
        yield f"{known or 'known before the run'} about {name}{start}: {'; '.join(power_lines(power))}"
    if document.until is not None:
        yield stopping_line(document.until, len(document.seeds))
