"""WebDataset shards: the members of tar files, grouped into samples and located for reading in any order.

The format (https://github.com/webdataset/webdataset, README and `tariterators.py`): regular files next to each other
whose names are the same up to the first dot of the last part are one sample; the name is its key, the rest, in lower
case, says what a file holds. Members whose names begin with ``__NAME__`` are skipped.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from stein_bench.data.braces import expand_braces
from stein_bench.errors import UsageError

_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)
_SKIPPED = re.compile(r"__[^/]*__($|/)")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Member:
    """Where a file of a sample lies in its shard."""

    offset: int
    size: int


@dataclass(frozen=True)
class Group:
    """The files of one sample: `members` by their extension, in a `shard`."""

    shard: Path
    key: str
    members: dict[str, Member]

    def read(self, extension: str, most: int | None = None) -> bytes:
        """Return the content of a file; UsageError if the shard cannot be read, or it has more than `most` bytes."""
        member = self.members[extension]
        if most is not None and member.size > most:
            raise UsageError(f"{self.shard}: {self.key}.{extension} has {member.size:,} bytes, more than {most:,}")
        try:
            with self.shard.open("rb") as file:
                file.seek(member.offset)
                content = file.read(member.size)
        except OSError as error:
            raise UsageError(f"{self.shard}: cannot be read ({error.strerror or error})") from error
        if len(content) < member.size:
            raise UsageError(f"{self.shard}: became shorter while it was read")
        return content


def find_shards(pattern: str) -> list[Path]:
    """Return the files that `pattern` names, with braces and then ``*`` and ``?``, in order.

    Several patterns are separated by ``::``. Raises UsageError if one names no file.
    """
    found: list[Path] = []
    for text in (text for part in pattern.split("::") for text in expand_braces(part)):
        if re.match(r"(pipe|https?|s3|gs|hf|file):", text):
            raise UsageError(f"{text}: only files are read; download the shards first")
        path = os.path.expanduser(text)
        names = [path] if os.path.isfile(path) else sorted(glob(path, recursive=True))
        if not names:
            raise UsageError(f"{text}: no such shard")
        found += map(Path, names)
    twice = next((path for path in found if found.count(path) > 1), None) if len(set(found)) < len(found) else None
    if twice is not None:
        raise UsageError(f"{pattern} names {twice} twice")
    if folder := next((path for path in found if path.is_dir()), None):
        raise UsageError(f"{folder}: a folder, not a shard; write wds:{folder}/*.tar")
    return found


def groups_in(shard: Path) -> Iterator[Group]:
    """Yield the samples of a `shard` in order, by its headers; UsageError, naming it, if it is broken."""
    key, members, seen = None, dict[str, Member](), set[str]()
    for name, member in _members(shard):
        match = _NAME.fullmatch(name)
        if match is None or _SKIPPED.match(name):
            continue
        if match[1] != key:
            if key is not None:
                yield Group(shard, key, members)
            key, members = match[1], {}
            if key in seen:
                raise UsageError(f"{shard}: the files of sample {key!r} are not next to each other; write it again")
            seen.add(key)
        extension = match[2].lower()
        if extension in members:
            raise UsageError(f"{shard}: has {name} twice; write it again")
        members[extension] = member
    if key is not None:
        yield Group(shard, key, members)


def _members(shard: Path) -> Iterator[tuple[str, Member]]:
    """Yield name and place of every regular file."""
    try:
        size = shard.stat().st_size
        with shard.open("rb") as file:
            _refuse_compressed(shard, file.read(2))
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    if info.issparse() or info.offset_data + info.size > size:
                        raise UsageError(f"{shard}: {'holds' if info.issparse() else 'is cut off in'} {_told(info)}")
                    if info.isreg():
                        yield info.name, Member(info.offset_data, info.size)
                end = archive.offset
            # tarfile takes a damaged header for the end, and the samples behind it would be missing
            file.seek(end)
            block = file.read(_BLOCK)
    except PermissionError as error:
        raise UsageError(f"{shard}: cannot be read ({error.strerror})") from error
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise UsageError(f"{shard}: not a readable tar file ({error}); write it again") from error
    if len(block) < _BLOCK or block.strip(b"\0"):
        what = "has a damaged header" if block.strip(b"\0") else "has no end mark and may be cut off"
        raise UsageError(f"{shard}: {what} at byte {end}; write it again")


def _told(info: tarfile.TarInfo) -> str:
    return f"{info.name}, a sparse file; write it again without" if info.issparse() else f"{info.name}; write it again"


def _refuse_compressed(shard: Path, start: bytes) -> None:
    if start in _COMPRESSED:
        raise UsageError(
            f"{shard}: is compressed ({_COMPRESSED[start]}), and its samples cannot be read one by one; decompress it"
        )
