"""Per-sample outcomes: the finished units that evaluation yields, and the columns they are gathered into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stein_bench.statistics.rates import Bits

Columns = dict[str, NDArray[np.generic]]
"""Per-sample arrays by name."""

REPLAY = "replay "
CLEAN = "clean"
"""The phase of a unit that holds clean predictions; any other phase is an attack's label."""
DISTANCE = "distance"
"""The column with the distance of the adversarial input found, within eps or not."""


@dataclass(frozen=True)
class Unit:
    """One finished piece of work: one batch of one phase of one variant.

    Attributes:
        variant: label of the variant, e.g. ``stein/running``.
        phase: `CLEAN` or the label of the attack.
        batch: number of the batch within the phase, from 0.
        indices: positions of the samples in data order.
        columns: per-sample arrays, (n,) or (n, K), with a row for each of `indices`. All hold the columns of the
            task's outcomes (for classification ``correct``). Clean units have ``finite`` as well, attack units
            ``invalid``, ``over_budget`` (bool) and ``linf``, ``l2`` (float), and `DISTANCE`
            for minimum-norm attacks. In corruption units every name is followed
            by the number of the draw (``correct0``, ``correct1``, …), in units of a replay the setting comes before it
            (``alone.correct``).
        seconds: wall time of this unit, verification included.
        forward_passes, backward_passes: passes through the model, counted in samples.
        message: empty, or why the unit failed (then there are no columns).
    """

    variant: str
    phase: str
    batch: int
    indices: NDArray[np.int64]
    columns: Columns = field(default_factory=dict)
    seconds: float = 0.0
    forward_passes: int = 0
    backward_passes: int = 0
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the unit has a message instead of columns."""
        return bool(self.message)


def replay_phase(label: str) -> str:
    """Return the phase in which the adversarial inputs of that attack are replayed in other batches.

    Its unit 0 has the setting ``shuffled``, its unit 1 ``among_clean`` and, where it can be, ``alone``: the outcomes of
    those samples alone that were replayed.
    """
    return f"{REPLAY}{label}"


def numbered(columns: Columns, number: int) -> Columns:
    """Return the columns of one draw of a corruption under the names that they have in its unit."""
    return {f"{name}{number}": column for name, column in columns.items()}


def in_setting(columns: Columns, setting: str) -> Columns:
    """Return the columns of one setting of a replay under the names that they have in its unit."""
    return {f"{setting}.{name}": column for name, column in columns.items()}


def of_setting(columns: Columns, setting: str) -> Columns:
    """Undo `in_setting`; empty where the unit has no such setting."""
    start = f"{setting}."
    return {name.removeprefix(start): column for name, column in columns.items() if name.startswith(start)}


def draws(columns: Columns) -> list[Columns]:
    """Undo `numbered`: return the columns of each draw, in the order of their numbers."""
    found: dict[int, Columns] = {}
    for key, column in columns.items():
        name = key.rstrip("0123456789")
        found.setdefault(int(key.removeprefix(name)), {})[name] = column
    return [found[number] for number in sorted(found)]


@dataclass(frozen=True)
class Phase:
    """All units of one phase of one variant, put together in data order."""

    columns: Columns
    seconds: float
    forward_passes: int
    backward_passes: int
    message: str

    def bits(self, name: str) -> Bits:
        """Return the named column as booleans."""
        return self.columns[name].astype(np.bool_)


def gather(units: Iterable[Unit], samples: int) -> Phase:
    """Put the units of one phase together; the order in which they arrived does not matter.

    A failed unit makes the phase a failed one: it then has its message and no columns.
    """
    units = list(units)
    message = next((unit.message for unit in units if unit.failed), "")
    columns: Columns = {}
    if not message:
        covered = np.concatenate([unit.indices for unit in units]) if units else np.empty(0, np.int64)
        if sorted(covered.tolist()) != list(range(samples)):
            raise ValueError(f"units cover {covered.size} samples, expected each of {samples} once")
        for name in units[0].columns if units else ():
            first = units[0].columns[name]
            column = np.zeros((samples, *first.shape[1:]), first.dtype)
            for unit in units:
                column[unit.indices] = unit.columns[name]
            columns[name] = column
    return Phase(
        columns,
        sum(unit.seconds for unit in units),
        sum(unit.forward_passes for unit in units),
        sum(unit.backward_passes for unit in units),
        message,
    )
