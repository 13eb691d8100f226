"""Files that a run is going to write: refused before anything is computed where that could not work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from stein_bench.errors import UsageError


def check_output_file(option: str, name: str) -> None:
    """Raise a `UsageError`, naming the `option`, unless a file of that name can be written."""
    path = Path(name).expanduser()
    if path.is_dir():
        raise UsageError(f"{option} {name} is a folder; name a file in it.")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"{option} {name}: there is no folder {path.parent}.")
    try:  # the only way to know: some file systems grant rights that they then refuse
        tempfile.TemporaryFile(dir=path.resolve().parent).close()
    except OSError as error:
        raise UsageError(f"{option} {name}: cannot write into {path.parent}: {error.strerror}.") from None
