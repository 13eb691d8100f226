"""Output files: checked before a run, and written atomically."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stein_bench.errors import UsageError


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, atomically; see `write_bytes`. Halves of surrogate pairs are spelled out."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically: a temporary file in the same folder, then a rename.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's 0600 would hide reports from a CI's next step
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # a full disk names no file, a rename the temporary one
        raise


def check_output_file(option: str, name: str) -> None:
    """Raise a `UsageError`, naming the `option`, unless a file of that name can be written."""
    path = Path(name).expanduser()
    if path.is_dir():
        raise UsageError(f"{option} {name} is a folder; name a file in it.")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"{option} {name}: there is no folder {path.parent}.")
    check_writable(option, name)


def check_writable(option: str, name: str) -> None:
    """Raise a `UsageError`, naming the `option`, unless a new file can take this name in its folder, which exists."""
    path = Path(name).expanduser()
    if path.exists() and not path.is_file():  # a device would be replaced by a file
        raise UsageError(f"{option} {name} is a device or a pipe, not a file.")
    try:  # the only reliable check: some file systems grant permissions but refuse to write
        tempfile.TemporaryFile(dir=path.resolve().parent).close()
    except OSError as error:
        raise UsageError(f"{option} {name}: cannot write into {path.parent}: {error.strerror}.") from None
