"""Units of phases that are computed together: one run of an attack judged at several budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stein_bench.evaluation.batches import Evaluated, Pending
from stein_bench.evaluation.units import Columns, Unit


def units_of(
    evaluated: Evaluated,
    phases: Sequence[str],
    pending: Pending,
    columns: Mapping[str, Columns],
    seconds: float,
    forward_passes: int,
    backward_passes: int,
) -> list[Unit]:
    """Return the missing units of a batch.

    Passes count for the first of the `phases`, and not again if its unit is there already; the time counts for the
    first unit that is returned.
    """
    found: list[Unit] = []
    for phase in pending.missing:
        passes = (forward_passes, backward_passes) if phase == phases[0] else (0, 0)
        spent = 0.0 if found else seconds
        found.append(
            Unit(evaluated.variant, phase, pending.number, pending.batch.indices, columns[phase], spent, *passes)
        )
    return found


def failed_units(
    evaluated: Evaluated, phases: Sequence[str], pending: Pending, message: str, seconds: float = 0.0
) -> list[Unit]:
    """Return a failed unit for each of the phases that this batch, or one after it, leaves incomplete."""
    return [
        Unit(
            evaluated.variant, phase, pending.number, pending.batch.indices, message=message,
            seconds=0.0 if position else seconds,
        )
        for position, phase in enumerate(evaluated.incomplete(phases, pending.number))
    ]  # fmt: skip
