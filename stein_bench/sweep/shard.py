"""Parts of a sweep for independent jobs, as in ``--shard 2/4``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from stein_bench.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """The part of a list that is this job's: every `count`-th entry, from the `number`-th on (the first is 1)."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, entries: Sequence[T]) -> tuple[T, ...]:
        """Return this job's part; empty if there are fewer entries than jobs."""
        return tuple(entries[self.number - 1 :: self.count])


def parse_shard(text: str) -> Shard:
    """Parse ``I/N``.

    Raises:
        UsageError: it is none, or I is not among 1 … N.
    """
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is None:
        raise UsageError(f"--shard {text}: it must be I/N, e.g. 2/4 for the second of four jobs.")
    number, count = int(found[1]), int(found[2])
    if not 1 <= number <= count:
        raise UsageError(
            f"--shard {text}: there is no part {number} of {count}; the parts are 1/{count} … {count}/{count}."
        )
    return Shard(number, count)
