"""Journals cut where a run may have been interrupted."""

from __future__ import annotations

from pathlib import Path

from stein_bench.evaluation.frames import frames
from stein_bench.evaluation.journal import MAGIC, UNIT
from stein_bench.evaluation.packed_units import unpack_unit
from stein_bench.evaluation.units import Unit


def units_in(path: Path) -> list[tuple[int, Unit]]:
    """Return the units of a journal, each with the position in the file behind it."""
    with path.open("rb") as stream:
        stream.seek(len(MAGIC))
        return [(end, unpack_unit(content[1:])) for end, content in frames(stream) if content[:1] == UNIT]
