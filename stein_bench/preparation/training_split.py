"""The training split of the built-in training: read and checked once, with what the report says about it."""

from __future__ import annotations

from dataclasses import replace

from stein_bench.preparation.inputs import check_values
from stein_bench.preparation.plan import Plan
from stein_bench.progress import Progress


def with_training_split(plan: Plan, progress: Progress) -> Plan:
    """Return `plan` with its training split, without damaged samples, and notes on it; as it is if it has one.

    Notes that say the same about both splits, such as how classes were found, are not repeated. Raises UsageError for
    a sample that is out of range, or unreadable and not to be left out.
    """
    if plan.training is not None:
        return plan
    unread = plan.training_samples()
    samples = check_values(unread, progress)
    shared = set(unread.notes()) & set(plan.samples.notes())
    notes = tuple(f"training split: {note}" for note in samples.notes() if note not in shared)
    return replace(plan, training=samples, training_notes=notes)
