"""Per-sample outcomes: the finished units of an evaluation, and the columns into which they are gathered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from stein_bench.statistics.rates import Bits

Columns = dict[str, NDArray[np.generic]]
"""Per-sample arrays by name."""

UnitKey = tuple[str, str, int]
"""Variant, phase and batch of a unit."""

T = TypeVar("T")

REPLAY = "replay "
"""Prefix of the phases that replay an attack's adversarial inputs."""
CLEAN = "clean"
"""The phase of units with clean predictions; other phases are an attack's label or a `replay_phase`."""
DISTANCE = "distance"
"""The column with the distance of the adversarial input, within eps or not."""
DISAGREES = "disagrees"
"""The column with the samples on which the attack network's own verdict differs from the verified one."""
ENDED = "ended"
"""The column with the number of the search in which a sample of an adaptive attack ended."""
DRAWN = "drawn"
"""The column with the samples that ended in a search made on a random subset, see `Found.drawn`."""


@dataclass(frozen=True)
class Unit:
    """One finished unit of work: one batch of one phase of one variant.

    Attributes:
        variant: label of the variant, e.g. ``stein/running``.
        phase: `CLEAN`, the label of an attack, or its `replay_phase`.
        batch: number of the batch within the phase, from 0.
        indices: positions of the samples in data order.
        columns: per-sample arrays, (n,) or (n, K), with a row for each of `indices`. All contain the columns of the
            task's outcomes (for classification ``correct`` and ``confidence``). Clean units also have ``finite``,
            attack units ``invalid``, ``over_budget`` (bool) and ``linf``, ``l2`` (float), minimum-norm attacks
            `DISTANCE`, and `DISAGREES` if the attack network is not the evaluated model, and `DRAWN` if a search was
            made on a random subset. In corruption units the number of the draw is appended to every name
            (``correct0``, ``correct1``, …), in replay units the setting is put before it (``alone.correct``).
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
    def key(self) -> UnitKey:
        """Variant, phase and batch."""
        return self.variant, self.phase, self.batch

    @property
    def failed(self) -> bool:
        """Whether the unit has a message instead of columns."""
        return bool(self.message)


def replay_phase(label: str) -> str:
    """Return the phase that replays the adversarial inputs of that attack in other batches.

    Its unit 0 has the setting ``shuffled``, its unit 1 ``among_clean`` and, if possible, ``alone``. They contain only
    the samples that were replayed.
    """
    return f"{REPLAY}{label}"


def numbered(columns: Mapping[str, T], number: int) -> dict[str, T]:
    """Return the columns of one draw of a corruption under their names in its unit."""
    return {f"{name}{number}": column for name, column in columns.items()}


def in_setting(columns: Columns, setting: str) -> Columns:
    """Return the columns of one setting of a replay under their names in its unit."""
    return {f"{setting}.{name}": column for name, column in columns.items()}


def of_setting(columns: Columns, setting: str) -> Columns:
    """Undo `in_setting`; empty if the unit lacks this setting."""
    start = f"{setting}."
    return {name.removeprefix(start): column for name, column in columns.items() if name.startswith(start)}


def draws(columns: Columns) -> list[Columns]:
    """Undo `numbered`: return the columns of each draw, in order."""
    found: dict[int, Columns] = {}
    for key, column in columns.items():
        name = key.rstrip("0123456789")
        found.setdefault(int(key.removeprefix(name)), {})[name] = column
    return [found[number] for number in sorted(found)]


@dataclass(frozen=True)
class Phase:
    """All units of one phase of one variant, gathered in data order."""

    columns: Columns
    seconds: float
    forward_passes: int
    backward_passes: int
    message: str

    def bits(self, name: str) -> Bits:
        """Return the named column as booleans."""
        return self.columns[name].astype(np.bool_)


def gather(units: Iterable[Unit], samples: int) -> Phase:
    """Gather the units of one phase; their order does not matter.

    If a unit failed, so does the phase: it then has the unit's message and no columns. A column that not all units have
    is left out: it is newer than the journal that the others were resumed from.

    Raises:
        ValueError: the units do not cover each of the `samples` exactly once.
    """
    units = list(units)
    message = next((unit.message for unit in units if unit.failed), "")
    columns: Columns = {}
    if not message:
        covered = np.concatenate([unit.indices for unit in units]) if units else np.empty(0, np.int64)
        if not np.array_equal(np.sort(covered), np.arange(samples)):
            raise ValueError(f"units cover {covered.size} samples, expected each of {samples} once")
        for name in units[0].columns if units else ():
            if not all(name in unit.columns for unit in units):
                continue
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
