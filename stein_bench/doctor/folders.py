"""The caches: where they are, how large, whether they can be written."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stein_bench.cache import CACHE_VARIABLE, cache_folder
from stein_bench.doctor.findings import Line, State, private, size
from stein_bench.doctor.machine import NETWORK, file_system
from stein_bench.errors import reason

OLD_DAYS = 180
"""Files that were not written for so long are old."""
MOST_FILES = 20_000
"""Files that are counted at most, so that a large cache takes no long time."""
LITTLE = 2 << 30
"""Free bytes below which a disk is nearly full."""


def caches() -> Iterator[Line]:
    """Yield stein-bench's own cache and those of the libraries."""
    try:
        folder = cache_folder().absolute()
    except RuntimeError as error:  # no home folder
        yield Line("cache", reason(error), "broken", f"Set {CACHE_VARIABLE} to a folder.")
        return
    yield Line("cache", private(f"{folder}, {_contents(folder)}"), *_writable(folder))
    kind = file_system(_nearest(folder.resolve()))
    if kind in NETWORK:
        yield Line(
            "file system of the cache", f"{kind}, on another machine", "slow",
            f"Set {CACHE_VARIABLE} to a folder on a disk of this machine.",
        )  # fmt: skip
    free = shutil.disk_usage(_nearest(folder)).free
    little = free < LITTLE
    yield Line("disk of the cache", f"{size(free)} free", "problem" if little else "ok", "Free some." if little else "")
    for name, path in _libraries().items():
        yield Line(name, private(f"{path}, {_contents(path)}"))


def _libraries() -> dict[str, Path]:
    """Return where torch.hub and the Hugging Face hub keep what they download, as their own documentation says."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    torch = Path(os.environ.get("TORCH_HOME") or home / "torch").expanduser()
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or home / "huggingface") / "hub"
    return {"weights of torch.hub": torch / "hub", "Hugging Face hub": Path(hub).expanduser()}


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return "not there yet"
    count, total, old, old_total, limit = 0, 0, 0, 0, time.time() - OLD_DAYS * 86400
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                status = (Path(path) / file).lstat()
            except OSError:
                continue
            count, total = count + 1, total + status.st_size
            if status.st_mtime < limit:
                old, old_total = old + 1, old_total + status.st_size
        if count > MOST_FILES:
            return f"more than {MOST_FILES:,} files, {size(total)} in these"
    aged = f", of which {old:,} ({size(old_total)}) are older than {OLD_DAYS} days" if old else ""
    return f"{count:,} files, {size(total)}{aged}"


def _writable(folder: Path) -> tuple[State, str]:
    """Return state and advice: whether a file can be written there, or the folder made."""
    advice = f"Set {CACHE_VARIABLE} to a folder that you can write."
    try:
        if folder.is_dir():
            with tempfile.TemporaryFile(dir=folder):
                return "ok", ""
    except OSError:
        return "broken", advice
    nearest = _nearest(folder)
    return ("ok", "") if nearest.is_dir() and os.access(nearest, os.W_OK) else ("broken", advice)


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
