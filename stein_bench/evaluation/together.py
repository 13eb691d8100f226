"""Units of phases that are computed together: one run of an attack judged at several budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stein_bench.evaluation.batches import Evaluated, LoadedBatch, Pending
from stein_bench.evaluation.time_limit import hanging_message
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
    """Return a failed unit for each of the phases that this batch, or one after it, leaves incomplete.

    It is that of the first batch without a result: one that is computed again, for its examples, has one already.
    """
    found = []
    for position, phase in enumerate(evaluated.incomplete(phases, pending.number)):
        number = evaluated.first_missing(phase, pending.number)
        indices = pending.batch.indices if number == pending.number else evaluated.setting.rows(number)
        seconds_of_first = 0.0 if position else seconds
        found.append(Unit(evaluated.variant, phase, number, indices, message=message, seconds=seconds_of_first))
    return found


def hanging(evaluated: Evaluated, phases: Sequence[str], batch: LoadedBatch) -> Callable[[], None] | None:
    """Return what ends the process if the attacks with these `phases` cannot be stopped; None if they are waited for.

    Args:
        evaluated, phases: as for `failed_units`.
        batch: the batch in work, or a part of it.
    """
    give_up, limit = evaluated.give_up, evaluated.setting.time_limit
    if give_up is None or limit is None:
        return None

    def end() -> None:
        number = int(batch.indices[0]) // evaluated.setting.batch_size
        give_up(failed_units(evaluated, phases, Pending(number, batch, ()), hanging_message(limit)))

    return end
