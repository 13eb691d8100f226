"""Pilots: how much the differences between seeds vary, from seeds that are finished already. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stein_bench.errors import UsageError
from stein_bench.report.document import read_report
from stein_bench.reproduction.cells import Evaluation
from stein_bench.reproduction.contrasts import Sought
from stein_bench.reproduction.document import Row, read_reproduction
from stein_bench.reproduction.replicates import ROUNDING, mean_sd
from stein_bench.reproduction.summary import measured

OWN_CELLS = "cells that are finished"
"""The origin of a pilot from the experiment's own cells."""
LEAST_CELLS = 3
"""Finished seeds from which cells serve as a pilot: the interval of an sd from two is a factor of 70 wide."""


@dataclass(frozen=True)
class Pilot:
    """The standard deviation of a contrast's differences, over how many seeds, and where they are from."""

    sd: float
    seeds: int
    origin: str


def pilot_of_document(path: str, contrast: Sought, cells: Collection[str] = ()) -> Pilot:
    """Take the pilot from the values of an earlier document of reproduce.

    The part may have another name there, not so BN, statistics source, outcome and metric. Model, data and training
    may differ, e.g. in size: whether their seeds vary alike is the user's judgment.

    Args:
        path: of the document.
        contrast: the main contrast.
        cells: names of the files of this experiment's cells. A document with one of them is no earlier knowledge: its
            origin is then `OWN_CELLS`.

    Raises:
        UsageError: it is no such document, does not have the contrast, or its differences do not determine an sd.
    """
    document = read_reproduction(path)
    figure = (contrast.outcome, contrast.metric)
    parts = dict.fromkeys(row.part for row in document.rows)
    for part in sorted(parts, key=lambda name: name != contrast.part):
        rows = {(row.bn, row.stats): row for row in document.rows if row.part == part and _figure(row) == figure}
        first, second = rows.get(contrast.against), rows.get((contrast.bn, contrast.stats))
        if first is None or second is None:
            continue
        own = any(cell.report in cells for cell in document.cells)
        found = _pilot(_by_seed(first), _by_seed(second), OWN_CELLS if own else path)
        if found is None:
            raise UsageError(
                f"--pilot {path}: the differences of {contrast} have no standard deviation: it takes two seeds whose "
                "differences are not equal."
            )
        return found
    raise UsageError(
        f"--pilot {path}: there is no {contrast} in it. It takes both variants under the same outcome, "
        f"{contrast.outcome}, and metric."
    )


def _by_seed(row: Row) -> dict[int, float | None]:
    return dict(zip(row.seeds, row.values, strict=True))


def _figure(row: Row) -> tuple[str, str]:
    return row.outcome, row.metric


def pilot_of_cells(cells: Sequence[Evaluation], contrast: Sought) -> Pilot | None:
    """Take the pilot from the cells that are finished, if at least `LEAST_CELLS` seeds have both variants.

    Raises:
        UsageError: a cell's file is damaged.
    """
    finished: dict[int, dict[tuple[str, str], Evaluation]] = {}
    for cell in cells:
        if cell.part.name == contrast.part and cell.path.exists():
            finished.setdefault(cell.training.seed, {})[cell.training.bn, cell.stats] = cell
    pair = (contrast.against, (contrast.bn, contrast.stats))
    both = {seed: found for seed, found in finished.items() if all(variant in found for variant in pair)}
    if len(both) < LEAST_CELLS:
        return None
    first, second = ({seed: _value(found[variant], contrast) for seed, found in both.items()} for variant in pair)
    pilot = _pilot(first, second, OWN_CELLS)
    return pilot if pilot is not None and pilot.seeds >= LEAST_CELLS else None


def _value(cell: Evaluation, contrast: Sought) -> float | None:
    figures = measured(cell.part.name, cell.training.seed, read_report(cell.path)).figures
    return figures.get((contrast.outcome, contrast.metric))


def _pilot(first: Mapping[int, float | None], second: Mapping[int, float | None], origin: str) -> Pilot | None:
    """Return the pilot of the seeds that both have; None if they do not determine an sd."""
    pairs = [(first[seed], second.get(seed)) for seed in first]
    differences = [b - a for a, b in pairs if a is not None and b is not None]
    sd = mean_sd(differences)[1] if differences else None
    return None if sd is None or sd <= ROUNDING else Pilot(sd, len(differences), origin)
