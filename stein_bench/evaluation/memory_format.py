"""Which memory format is faster for attacks on a network, measured once and then remembered.

The order in memory changes the last bits of a gradient, and a measurement may come out differently the next time. So
the first choice is kept in the user's cache, and the same run on the same machine repeats.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from stein_bench.cache import cache_folder
from stein_bench.errors import UsageError
from stein_bench.files import write_text
from stein_bench.reading import MOST_JSON, read_json

MemoryFormat = Literal["contiguous", "channels_last"]
FORMATS: tuple[MemoryFormat, ...] = get_args(MemoryFormat)

WARM_UPS = 2
"""Passes in each format before any is timed: the first ones allocate memory and load kernels."""
REPEATS = 5
CLEARLY = 1.03
"""How many times as fast as the ordinary format another one must be: less is noise."""

Seconds = Callable[[MemoryFormat], float]
"""Runs one forward and backward pass in that memory format and returns how long it took."""


def faster_format(seconds: Seconds) -> MemoryFormat:
    """Return the format whose passes are faster; ``contiguous`` unless the other is `CLEARLY` faster, in the median.

    The formats are timed in turn, the first one changing, so that a device that slows down favors neither.
    """
    for _ in range(WARM_UPS):
        for memory_format in FORMATS:
            seconds(memory_format)
    ratios = []
    for number in range(REPEATS):
        took = {memory_format: seconds(memory_format) for memory_format in (FORMATS, FORMATS[::-1])[number % 2]}
        ratios.append(took["contiguous"] / took["channels_last"])
    return "channels_last" if statistics.median(ratios) >= CLEARLY else "contiguous"


def remembered_format(matters: Mapping[str, Any], choose: Callable[[], MemoryFormat | None]) -> MemoryFormat:
    """Return the format chosen before under the same circumstances, or `choose` one and remember it.

    Args:
        matters: JSON values, everything that may affect which format is faster.
        choose: measures; None if it could not: then the ordinary format is returned, and nothing remembered.
    """
    key = hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / "memory-formats" / f"{key}.json"
    known = _read(path)
    if known is not None:
        return known
    chosen = choose()
    if chosen is None:
        return "contiguous"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"memory_format": chosen, **matters}, indent=2, sort_keys=True) + "\n")
    except OSError:
        pass  # the next run measures again
    return chosen


def _read(path: Path) -> MemoryFormat | None:
    """Return what a file holds; None if there is none or it is damaged."""
    try:
        found = read_json(path, MOST_JSON, "a cache")["memory_format"]
    except (OSError, ValueError, KeyError, TypeError, UsageError):
        return None
    return found if found in FORMATS else None
