"""The journal of an unfinished run: finished units kept beside the report, for `--resume`.

A process writes one file, to which it only appends: a line that says what the file is, then frames (`frames`). The
first frame identifies the run; a frame with the weights precedes the first unit of a variant; all others are units
(`packed_units`). Whatever a killed process was writing is an incomplete frame at the end, so that it costs one batch.
Processes that share a run each have a file: the first one ``report.json.partial``, the others the same with their rank.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from stein_bench.errors import UsageError
from stein_bench.evaluation.frames import frame, frames, lock
from stein_bench.evaluation.packed_units import pack_unit, unpack_unit
from stein_bench.evaluation.units import Unit, UnitKey

SUFFIX = ".partial"
MAGIC = b"stein-bench journal 2\n"
IDENTITY, NETWORK, UNIT = b"I", b"N", b"U"
"""Kinds of frames, the first byte of each."""
NOT_A_RECORD = (AttributeError, LookupError, TypeError, ValueError, RecursionError)
"""What reading a frame raises that is in no journal."""
_MOST_IDENTITY = 2**20
"""Bytes within which the first frame ends: behind that, a missing one is not the trace of a kill."""


def journal_path(output: str | Path, rank: int = 0) -> Path:
    """Return the path of the journal that the process of this `rank` keeps for the report `output`."""
    return Path(f"{output}{SUFFIX}{f'.{rank}' if rank else ''}")


def journal_paths(output: str | Path) -> list[Path]:
    """Return the paths of all journals of the report `output` that exist, that of the first process first."""
    first = journal_path(output)
    parts = [(path.name.removeprefix(f"{first.name}."), path) for path in _beside(first)]
    numbered = sorted((int(number), path) for number, path in parts if number.isdecimal())
    return [*([first] if first.exists() else []), *(path for _, path in numbered)]


def _beside(first: Path) -> list[Path]:
    """Return the files whose names begin with that of `first`; a folder that cannot be listed has none."""
    with suppress(OSError):
        return [path for path in first.parent.iterdir() if path.name.startswith(f"{first.name}.")]
    return []


def remove_journals(output: str | Path) -> None:
    """Remove all journals of the report `output`, once it is written."""
    for path in journal_paths(output):
        path.unlink(missing_ok=True)


def interrupted_batch_size(output: str | Path) -> int | None:
    """Return the batch size of the interrupted run of the report `output`; None if there is none that can be read."""
    for path in journal_paths(output):
        with (
            suppress(OSError, StopIteration, *NOT_A_RECORD),
            path.open("rb") as stream,
        ):
            if stream.read(len(MAGIC)) == MAGIC:
                _, content = next(frames(stream))
                found = json.loads(content[1:])["batch_size"]
                return found if isinstance(found, int) else None
    return None


class Journal:
    """Appends finished units to a file.

    The file is created with the first unit, so that a run that fails earlier leaves nothing behind.

    Args:
        output: path of the report.
        identity: what must be equal to reuse units: configuration, data, versions, device.
        resume: reuse the units of existing journals, of all processes.
        rank: number of the process.

    Attributes:
        path: the file that this process writes.
        units: the reused units, each once.
        damaged: existing journals whose ends are not used: what a killed process was writing, or more if a file has
            been damaged.

    Raises:
        UsageError: a journal exists and `resume` is false, it belongs to another run, or it cannot be read.
    """

    def __init__(self, output: str | Path, identity: dict[str, Any], *, resume: bool, rank: int = 0) -> None:
        self.path = journal_path(output, rank)
        self.damaged: list[Path] = []
        self._identity = identity
        self._networks: dict[str, str] = {}
        self._written: set[str] = set()
        self._usable = self._size = 0
        self._stream: IO[bytes] | None = None
        known: dict[UnitKey, Unit] = {}
        for path in journal_paths(output):
            if not resume:
                raise UsageError(
                    f"{path} holds the results of an interrupted run: add --resume to continue, "
                    "or delete it to start again."
                )
            for unit in self._read(path):
                if unit.key not in known or known[unit.key].failed:  # a later attempt may have succeeded
                    known[unit.key] = unit
        self.units = list(known.values())

    def check_network(self, variant: str, sha256: str) -> None:
        """Record the network of the units of `variant`.

        Raises:
            UsageError: the reused units came from another network.
        """
        if self._networks.setdefault(variant, sha256) != sha256:
            raise self._other_network(variant)

    def add(self, unit: Unit) -> None:
        """Append a finished unit; it is in the file when this method returns.

        Raises:
            UsageError: it cannot be written, as on a full disk. What was appended before stays usable.
        """
        content = b""
        if self._stream is None:
            self._stream = self._opened()
            if self._stream.tell() == 0:
                content = MAGIC + frame(IDENTITY + json.dumps(self._identity, sort_keys=True).encode())
        if unit.variant not in self._written and unit.variant in self._networks:
            self._written.add(unit.variant)
            content += frame(NETWORK + json.dumps([unit.variant, self._networks[unit.variant]]).encode())
        try:
            self._stream.write(content + frame(UNIT + pack_unit(unit)))
            self._stream.flush()
        except OSError as error:
            with suppress(OSError):  # closing tries to write the rest once more
                self.close()
            raise UsageError(
                f"cannot write {self.path}: {error.strerror or error}. What is finished is kept: make room, and add "
                "--resume to continue."
            ) from error

    def close(self) -> None:
        """Stop writing; the file stays."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> IO[bytes]:
        """Open the file behind its last complete frame."""
        stream = self.path.open("ab")
        if not lock(stream) or stream.seek(0, 2) != self._size:  # or another run has written since this one began
            stream.close()
            raise UsageError(f"{self.path} is being written by another run: wait for it, or choose another --output.")
        stream.truncate(self._usable)
        stream.seek(0, 2)
        return stream

    def _read(self, path: Path) -> Iterator[Unit]:
        """Yield the units of a journal, and note where its complete frames end."""
        usable = 0
        try:
            with path.open("rb") as stream:
                begin = stream.read(len(MAGIC))
                if not MAGIC.startswith(begin):
                    raise self._nobodys(path, begin)
                networks: dict[str, str] = {}
                for end, content in frames(stream) if begin == MAGIC else ():
                    kind, rest = content[:1], content[1:]
                    if usable == 0:
                        self._check_identity(path, json.loads(rest) if kind == IDENTITY else {})
                    elif kind == NETWORK:
                        variant, sha256 = json.loads(rest)
                        networks[variant] = sha256
                        self.check_network(variant, sha256)
                    else:
                        yield unpack_unit(rest)
                    usable = end
                size = stream.seek(0, 2)
                if usable == 0 and size > len(MAGIC) + _MOST_IDENTITY:
                    raise UsageError(f"{path}: its first record is damaged, so nothing in it can be used: delete it.")
                if size > usable:
                    self.damaged.append(path)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}.") from None
        except NOT_A_RECORD:
            raise self._nobodys(path, b"") from None
        if path == self.path:
            self._usable, self._size, self._written = usable, size, set(networks)

    def _nobodys(self, path: Path, begin: bytes) -> UsageError:
        if begin.startswith((b'{"', MAGIC[: MAGIC.index(b"2")])):
            return UsageError(
                f"{path} is the journal of another version of stein-bench: finish it with that one, or delete it to "
                "start again."
            )
        return UsageError(f"{path} is not the journal of an interrupted run: move it elsewhere.")

    def _other_network(self, variant: str) -> UsageError:
        return UsageError(
            f"{self.path} holds results of another network for {variant}: its weights or training data have "
            "changed. Delete the file to start again."
        )

    def _check_identity(self, path: Path, found: dict[str, Any]) -> None:
        identity = json.loads(json.dumps(self._identity))
        if found != identity:
            changed = sorted(key for key in identity.keys() | found.keys() if found.get(key) != identity.get(key))
            raise UsageError(
                f"{path} belongs to another run (differs in {', '.join(changed)}): "
                "repeat the first command, or delete the file to start again."
            )
