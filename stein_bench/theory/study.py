"""Summary of a simulated grid: simultaneous verdicts, the JSON document, a one-sentence conclusion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any

from stein_bench.theory.figures import figure
from stein_bench.theory.names import TARGETS, Target, Verdict
from stein_bench.theory.risk import Cell, Comparison, RiskEstimate
from stein_bench.theory.settings import RiskSettings

SCHEMA_VERSION = 1
INTERVAL_MISS = 0.05
"""Each interval misses its ratio with this probability."""
FAMILY_MISS = 0.05
"""At least one verdict of a whole grid is wrong with at most this probability (Bonferroni)."""
_AGREE = 5.0


@dataclass(frozen=True)
class Tally:
    """The verdicts on one estimator of one target over several settings, and the range of its ratios."""

    estimator: str
    target: Target
    verdicts: Counter[Verdict]
    least: float
    median: float
    largest: float


@dataclass(frozen=True)
class RiskStudy:
    """A simulated grid: settings and results."""

    settings: RiskSettings
    cells: tuple[Cell, ...]

    @cached_property
    def comparisons(self) -> int:
        """The number of nontrivial verdicts (not ``same``)."""
        return sum(not item.ratio.same for cell in self.cells for item in cell.comparisons)

    @property
    def verdict_miss(self) -> float:
        """The probability with which a single verdict may be wrong."""
        return FAMILY_MISS / max(self.comparisons, 1)

    def verdict(self, comparison: Comparison) -> Verdict:
        """Return the verdict on one comparison; all verdicts of the grid hold jointly with probability 95 %."""
        return comparison.ratio.verdict(self.verdict_miss)

    def tally(self, estimator: str, target: Target, cells: Iterable[Cell] | None = None) -> Tally:
        """Count the verdicts over some cells, by default all."""
        found = list(self._found(estimator, target, self.cells if cells is None else cells))
        ratios = [comparison.ratio.ratio for comparison in found]
        verdicts = Counter(map(self.verdict, found))
        return Tally(estimator, target, verdicts, min(ratios), median(ratios), max(ratios))

    def conclusion(self) -> str:
        """Return a one-sentence conclusion on the first estimator."""
        name, settings = self.settings.estimators[0], len(self.cells)
        tallies = [self.tally(name, target) for target in TARGETS]
        if any(tally.verdicts["does not"] for tally in tallies):
            opening = f"{name} does not dominate the sample estimators here"
        elif all(tally.verdicts["dominates"] == settings for tally in tallies):
            opening = f"{name} has the smaller risk in every setting here"
        else:
            opening = f"{name} is not shown to be worse than the sample estimators in any setting here"
        parts = [
            f"its {tally.target} has the smaller risk in {tally.verdicts['dominates']} of {settings} settings and the "
            f"larger in {tally.verdicts['does not']}{_by_how_much(tally)}"
            for tally in tallies
        ]
        return f"{opening}: {'; '.join(parts)}."

    def closed_forms(self) -> tuple[int, int]:
        """Return the number of simulated risks within 5 standard errors of their closed form, and the total."""
        known = [risk for cell in self.cells for risk in _risks(cell) if risk.closed_form is not None]
        return sum(agrees(risk) for risk in known), len(known)

    def document(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        agreeing, known = self.closed_forms()
        return {
            "schema_version": SCHEMA_VERSION,
            "document": "stein-bench theory risk",
            "settings": asdict(self.settings),
            "comparisons": self.comparisons,
            "interval_level": 1 - INTERVAL_MISS,
            "family_error_rate": FAMILY_MISS,
            "closed_forms": {"known": known, "agreeing": agreeing},
            "conclusion": self.conclusion(),
            "summary": [
                {**asdict(tally), "verdicts": dict(tally.verdicts)}
                for name in self.settings.estimators
                for tally in (self.tally(name, target) for target in TARGETS)
            ],
            "cells": [self._cell_document(cell) for cell in self.cells],
        }

    def _cell_document(self, cell: Cell) -> dict[str, Any]:
        estimators: dict[str, dict[str, Any]] = {name: {} for name in self.settings.estimators}
        for item in cell.comparisons:
            estimators[item.estimator][item.target] = {
                **asdict(item.risk),
                "ratio": item.ratio.ratio,
                "ci95": item.ratio.interval(INTERVAL_MISS),
                "verdict": self.verdict(item),
            }
        return {
            "contamination": cell.contamination,
            "channels": cell.channels,
            "elements": cell.elements,
            "spread": cell.spread,
            "draws": cell.draws,
            "sample": {target: asdict(cell.sample[target]) for target in TARGETS},
            "estimators": estimators,
        }

    def _found(self, estimator: str, target: Target, cells: Iterable[Cell]) -> Iterator[Comparison]:
        for cell in cells:
            for item in cell.comparisons:
                if (item.estimator, item.target) == (estimator, target):
                    yield item


def agrees(risk: RiskEstimate) -> bool:
    """Return whether a simulated risk is within 5 standard errors of its closed form, up to rounding."""
    if risk.closed_form is None:
        return False
    return abs(risk.risk - risk.closed_form) <= _AGREE * risk.error + 1e-9 * risk.closed_form


def _risks(cell: Cell) -> Iterator[RiskEstimate]:
    yield from cell.sample.values()
    for item in cell.comparisons:
        yield item.risk


def _by_how_much(tally: Tally) -> str:
    return f" (up to {figure(tally.largest)} times)" if tally.verdicts["does not"] else ""
