"""An index of class folders in the cache: which images they hold, as long as no folder has changed since.

A file begins with a line that names the format and the SHA-256 of the rest; the rest is a line of JSON and arrays. It
is believed only as a whole: whatever is wrong with it, the folders are listed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.cache import cache_folder
from stein_bench.data.imagefiles import EXTENSIONS, OTHER_EXTENSIONS
from stein_bench.data.listing import Listing, State, list_images
from stein_bench.data.texts import Texts
from stein_bench.files import write_bytes

FORMAT = b"stein-bench index of folders 1"
"""To be changed with what a listing means or how it is stored."""

FEW = 10_000
"""Fewer images are listed faster than anybody waits, and need no index."""

SETTLED = 2_000_000_000
"""Nanoseconds after which a further change gives a folder another time on every file system (FAT: 2 s)."""


def listed_images(root: Path, folders: Sequence[Path]) -> Listing:
    """Return what `list_images` returns, from the index if it is still right, and keep it there otherwise.

    Only the states of folders are compared. Raises UsageError as `list_images` does; an index never is an error.
    """
    place = index_path(root)
    known = _read(place, root, folders)
    if known is not None:
        return known
    started = time.time_ns()
    found = list_images(root, folders)
    if len(found.paths) >= FEW and found.states and _settled(found, started):
        with suppress(OSError):  # a full disk, or a folder that may not be written
            place.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(place, _encoded(found, root, folders))
    return found


def index_path(root: Path) -> Path:
    """Return where the index of `root` is kept."""
    absolute = os.path.abspath(root)
    return cache_folder() / "indexes" / f"{hashlib.sha256(os.fsencode(absolute)).hexdigest()[:32]}.idx"


def _settled(found: Listing, started: int) -> bool:
    """Return whether a change right after the listing would have shown: no folder was changed just before it."""
    return all(state.latest < started - SETTLED for state in (found.states or {}).values())


def _identity(root: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Return what an index must have in common with what is asked for."""
    return {
        "root": os.path.abspath(root),
        "folders": [folder.relative_to(root).as_posix() for folder in folders],
        "suffixes": [sorted(EXTENSIONS), sorted(OTHER_EXTENSIONS)],
    }


def _encoded(found: Listing, root: Path, folders: Sequence[Path]) -> bytes:
    states = found.states or {}
    paths = Texts.of(os.path.relpath(folder, root) for folder in states)
    numbers = np.array([(s.inode, s.modified, s.changed) for s in states.values()], np.uint64).reshape(-1, 3)
    arrays: list[np.ndarray[Any, Any]] = [
        paths.block,
        paths.bounds,
        numbers,
        found.counts,
        found.paths.block,
        found.paths.bounds,
    ]
    head = {
        **_identity(root, folders),
        "others": dict(found.others),
        "arrays": [[array.dtype.str, list(array.shape)] for array in arrays],
    }
    body = b"".join([json.dumps(head).encode(), b"\n", *(np.ascontiguousarray(array).tobytes() for array in arrays)])
    return FORMAT + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _read(place: Path, root: Path, folders: Sequence[Path]) -> Listing | None:
    """Return the listing of an index; None if there is none, it is damaged, or a folder has changed."""
    try:
        content = memoryview(place.read_bytes())
        start = len(FORMAT) + 66  # a space, 64 digits and the end of the line
        if content[:start] != FORMAT + b" " + hashlib.sha256(content[start:]).hexdigest().encode() + b"\n":
            return None
        end = start + bytes(content[start : start + 2**24]).index(b"\n")
        head = json.loads(bytes(content[start:end]))
        identity = _identity(root, folders)
        if {key: head.get(key) for key in identity} != identity:
            return None
        block, bounds, numbers, counts, names, ends = _arrays(content[end + 1 :], head["arrays"])
        states = [State(*map(int, row)) for row in numbers]
        listed = [os.path.join(root, folder) for folder in Texts(block, bounds)]
        if any(State.of(folder) != state for folder, state in zip(listed, states, strict=True)):
            return None
        return Listing(Texts(names, ends), counts, head["others"], dict(zip(listed, states, strict=True)))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the folders themselves are listed
        return None


def _arrays(content: memoryview, kinds: Sequence[tuple[str, Sequence[int]]]) -> list[np.ndarray[Any, Any]]:
    found, at = [], 0
    for dtype, shape in kinds:
        count = int(np.prod(shape))
        found.append(np.frombuffer(content, np.dtype(dtype), count, at).reshape(shape))
        at += found[-1].nbytes
    return found
