"""Frames: contents that are appended to a file one after another, each with its length and a checksum."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO

HEADER = struct.Struct("<II")
"""Length and CRC-32 of the content that follows."""


def frame(content: bytes) -> bytes:
    """Return `content` as a frame."""
    return HEADER.pack(len(content), zlib.crc32(content)) + content


def frames(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the content of each frame from the position of `stream` on, with the position behind it.

    It ends at the first frame that is incomplete or whose checksum differs: a length may be wrong as well, so nothing
    behind it can be found again.
    """
    while len(head := stream.read(HEADER.size)) == HEADER.size:
        length, checksum = HEADER.unpack(head)
        if length == 0:
            return  # zeros, which some file systems leave where a machine went down before it had written
        content = _content(stream, length)
        if len(content) < length or zlib.crc32(content) != checksum:
            return
        yield stream.tell(), content


def _content(stream: IO[bytes], length: int) -> bytes:
    """Read `length` bytes in pieces, since a damaged length may be gigabytes of which nothing is there."""
    pieces = []
    while length > 0 and (piece := stream.read(min(length, 2**24))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def lock(stream: IO[bytes]) -> bool:
    """Lock an open file against other processes until it is closed; False if another one has locked it.

    Where there are no locks, as on some network file systems, nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
