"""The images in class folders, listed: a pass over every folder, whose result may be kept for the next time."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stein_bench.data.imagefiles import EXTENSIONS, OTHER_EXTENSIONS, refuse_unlisted
from stein_bench.data.texts import Texts
from stein_bench.progress import current, phase

LONG = 1.0
"""Seconds after which a listing is shown as a phase of its own."""


@dataclass(frozen=True)
class State:
    """What changes if a file or folder directly in a folder is added, removed or renamed.

    The time of change cannot be set, unlike that of modification, which archives and copies carry along.
    """

    inode: int
    modified: int
    changed: int

    @classmethod
    def of(cls, folder: str) -> State:
        """Return the state of a folder, links followed; OSError if there is none."""
        found = os.stat(folder)
        return cls(found.st_ino, found.st_mtime_ns, found.st_ctime_ns)

    @property
    def latest(self) -> int:
        """The later of both times, in nanoseconds."""
        return max(self.modified, self.changed)


@dataclass(frozen=True, eq=False)
class Listing:
    """The images below some folders.

    Attributes:
        paths: relative to the root, with slashes; those of each folder together, and sorted within it.
        counts: how many there are in each folder, int64.
        others: suffix → number of files that look like images but are not read, the most frequent first.
        states: every folder that was listed → its state before that; None if the files below cannot be known by the
            states of folders, since a link leads nowhere and may lead somewhere later.
    """

    paths: Texts
    counts: NDArray[np.int64]
    others: Mapping[str, int]
    states: Mapping[str, State] | None


def list_images(root: Path, folders: Sequence[Path]) -> Listing:
    """Look for images in `folders` below `root`, at any depth, without hidden files and folders; links are followed.

    Raises UsageError for a folder that cannot be listed.
    """
    walk, counts = _Walk(), list[int]()

    def paths() -> Iterator[str]:
        for folder in _shown(folders):
            names = sorted(walk.images(str(folder), f"{folder.relative_to(root).as_posix()}/"))
            counts.append(len(names))
            yield from names

    texts = Texts.of(paths())
    others = dict(sorted(walk.others.items(), key=lambda item: (-item[1], item[0])))
    return Listing(texts, np.array(counts, np.int64), others, None if walk.dangling else walk.states)


class _Walk:
    """What the folders visited so far hold besides images."""

    def __init__(self) -> None:
        self.others: Counter[str] = Counter()
        self.states: dict[str, State] = {}
        self.dangling = False

    def images(self, folder: str, prefix: str) -> list[str]:
        """Return the images below `folder`, with `prefix` before their names, in no particular order."""
        found, waiting = list[str](), [(folder, prefix)]
        while waiting:
            folder, prefix = waiting.pop()
            try:
                self.states[folder] = State.of(folder)  # before it is listed: what changes meanwhile is noticed
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if _is_folder(entry):
                            waiting.append((entry.path, f"{prefix}{entry.name}/"))
                        else:
                            self._add(entry, prefix, found)
            except OSError as error:
                refuse_unlisted(error)
        return found

    def _add(self, entry: os.DirEntry[str], prefix: str, found: list[str]) -> None:
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix in EXTENSIONS:
            found.append(prefix + entry.name)
        elif suffix in OTHER_EXTENSIONS:
            self.others[suffix] += 1
        if entry.is_symlink() and not os.path.exists(entry.path):
            self.dangling = True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _shown(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the `folders`, with a display of progress from the moment that takes long."""
    progress, folders, started = current(), list(folders), time.monotonic()
    with ExitStack() as stack:
        shown = False
        for number, folder in enumerate(folders):
            if not shown and time.monotonic() - started > LONG:
                stack.enter_context(phase(progress, "listing class folders", len(folders), number))
                shown = True
            yield folder
            if shown:
                progress.advance(1)
