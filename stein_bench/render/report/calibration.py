"""The table of confidence and calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.console import Group, RenderableType
from rich.text import Text

from stein_bench.comparison.pairing import CLEAN, variant_name
from stein_bench.render.columns import Column
from stein_bench.render.report.common import rows_apart, stands_for_all
from stein_bench.render.report.metrics import short_name
from stein_bench.render.text_table import TextTable
from stein_bench.report.attack_names import SEVERITY, noise_strength, titles
from stein_bench.report.document import Report
from stein_bench.report.number_format import UNKNOWN, percent
from stein_bench.report.results import Calibration, VariantResult

TITLE = "Confidence and calibration, %"
HEADERS = ("accuracy", "confidence", "when wrong", "ECE", "ECE if calibrated")
SHORT = ("accuracy", "confidence", "when\nwrong", "ECE", "ECE if\ncalibrated")
"""The headers of the table in a terminal, of 80 columns."""
CALIBRATION = (
    "confidence: the probability of the predicted class; ECE: its mean distance from the accuracy, over 15 bins; even "
    "a perfectly calibrated model would have about 'ECE if calibrated' on as many samples. Under attack these figures "
    "are of the adversarial inputs alone, whether the clean ones were right or not"
)
"""What the figures mean."""
COLUMNS = ("confidence", "confidence_when_wrong", "overconfidence", "ece", "ece_if_calibrated")
"""The figures in tables for programs, by name in the report."""


@dataclass(frozen=True)
class CalibrationRow:
    """The calibration of one variant in one outcome, of which this is the title."""

    variant: VariantResult
    outcome: str
    found: Calibration


def calibration_rows(report: Report) -> list[CalibrationRow]:
    """Return a row for the clean inputs, every attack and every corruption, or the mean of many corruptions."""
    return [CalibrationRow(v, *row) for v in report.variants for row in _of_variant(v)]


def calibrations(variant: VariantResult) -> dict[str, Calibration]:
    """Return what is known of the calibration of a variant by outcome: ``clean`` or a label."""
    results = [(CLEAN, variant.clean.calibration), *((a.label, a.calibration) for a in variant.attacks)]
    results += [(c.label, c.calibration) for c in variant.corruptions]
    return {key: found for key, found in results if found is not None}


def calibrations_of_cells(variant: VariantResult) -> dict[str, Calibration]:
    """Return the calibration of a variant under each common corruption at each severity, by cell, e.g. ``fog/3``."""
    common = [one for one in variant.corruptions if SEVERITY in one.params]
    return {f"{one.name}/{one.params[SEVERITY]}": one.calibration for one in common if one.calibration is not None}


def calibration_values(found: Calibration | None) -> Mapping[str, float | None]:
    """Return the figures of `COLUMNS` by name, all None without a calibration."""
    return {name: None if found is None else getattr(found, name) for name in COLUMNS}


def calibration_cells(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the headers and the rows of the table, without rows if nothing is known."""
    rows = [[variant_name(row.variant), row.outcome, *_cells(row.found)] for row in calibration_rows(report)]
    return ["BN, statistics", "outcome", *(f"{header} %" for header in HEADERS)], rows


def calibration_tables(report: Report) -> list[RenderableType]:
    """Return the table with its title, if anything is known."""
    rows = calibration_rows(report)
    if not rows:
        return []
    names = [Column("BN", name=True, lead=True), Column("outcome", name=True)]
    table = TextTable([*names, *(Column(header, right=True) for header in SHORT)])
    last = None
    for row in rows:
        table.add("" if row.variant is last else short_name(report, row.variant), row.outcome, *_cells(row.found))
        last = row.variant
    return [Group(Text(TITLE, style="bold"), table)]


def calibration_notes(report: Report) -> list[str]:
    """Return what the figures mean, if there are any."""
    return [CALIBRATION] if calibration_rows(report) else []


def _of_variant(variant: VariantResult) -> Iterator[tuple[str, Calibration]]:
    known, names = calibrations(variant), titles(variant.attacks)
    yield from ((names.get(key, key), known[key]) for key in (CLEAN, *names) if key in known)
    apart = rows_apart(variant)
    if cells := stands_for_all(variant):
        together = [known[one.label] for one in variant.corruptions if one not in apart and one.label in known]
        if together:
            yield f"corruptions, {cells}", _mean(together)
    for one, found in ((one, known[one.label]) for one in apart if one.label in known):
        yield f"{one.name.removeprefix('noise-')} {noise_strength(one.params)[1]}", found


def _mean(found: Sequence[Calibration]) -> Calibration:
    """Return the mean of each figure; of the confidence when wrong, over those that have one."""
    wrong = [one.confidence_when_wrong for one in found if one.confidence_when_wrong is not None]
    return Calibration(
        predictions=sum(one.predictions for one in found),
        accuracy=fmean(one.accuracy for one in found),
        confidence=fmean(one.confidence for one in found),
        confidence_when_wrong=fmean(wrong) if wrong else None,
        overconfidence=fmean(one.overconfidence for one in found),
        ece=fmean(one.ece for one in found),
        ece_if_calibrated=fmean(one.ece_if_calibrated for one in found),
    )


def _cells(found: Calibration) -> list[str]:
    figures = (found.accuracy, found.confidence, found.confidence_when_wrong, found.ece, found.ece_if_calibrated)
    return [UNKNOWN if figure is None else percent(figure) for figure in figures]
