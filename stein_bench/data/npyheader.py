"""The beginning of a file: what kind it is."""

from __future__ import annotations

from pathlib import Path

from stein_bench.errors import UsageError


def starts_with(path: Path, magic: bytes) -> bool:
    """Return whether the file begins with these bytes; UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
