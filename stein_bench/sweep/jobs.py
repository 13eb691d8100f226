"""Jobs at work on one sweep: each on models of its own, so a second one on the same models is refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

from stein_bench.errors import UsageError
from stein_bench.files.locks import SUFFIX, HeldError, Lock, Say, being_written, take, tell
from stein_bench.sweep.identity import FILE
from stein_bench.sweep.shard import Shard


class Job:
    """This job's claim to its part of a sweep's models, from `claim` until the body of the ``with`` statement ends.

    Args:
        folder: of the sweep.
        shard: the job's part; None: all models.
        say: is told if the lock of a killed job was taken over.
    """

    def __init__(self, folder: Path, shard: Shard | None, say: Say) -> None:
        self._folder, self._shard, self._say = folder, shard, say
        self._lock: Lock | None = None

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def claim(self) -> None:
        """Lock the job's part, unless that is done or there is no folder yet; without effect where none can be made.

        Raises:
            UsageError: another job is at work on some of the models.
        """
        if self._lock is not None or not self._folder.is_dir():
            return
        own = _lock_file(self._folder, self._shard)
        try:
            self._lock = take(own)
            for other, shard in _others(self._folder, own):
                if _overlap(self._shard, shard):
                    take(other).release()  # left behind by a job that has ended, or else held
        except HeldError as held:
            raise self._refused(held) from None
        except OSError:
            return
        tell(self._lock, self._say)

    def _refused(self, held: HeldError) -> UsageError:
        return being_written("--output", self._folder, held)


def _lock_file(folder: Path, shard: Shard | None) -> Path:
    part = "" if shard is None else f".{shard.number}-of-{shard.count}"
    return folder / f"{FILE}{part}{SUFFIX}"


def _others(folder: Path, own: Path) -> list[tuple[Path, Shard | None]]:
    """Return the lock files of other parts in the folder, and which parts these are (None: all models)."""
    pattern = re.compile(rf"{re.escape(FILE)}(?:\.(\d+)-of-(\d+))?{re.escape(SUFFIX)}")
    return [
        (path, None if match[1] is None else Shard(int(match[1]), int(match[2])))
        for path in folder.iterdir()
        if path != own and (match := pattern.fullmatch(path.name))
    ]


def _overlap(one: Shard | None, other: Shard | None) -> bool:
    """Return whether both parts can hold the same model."""
    if one is None or other is None:
        return True
    return (one.number - other.number) % math.gcd(one.count, other.count) == 0
