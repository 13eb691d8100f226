"""Lock files: of all processes, one at a time writes an output, or makes what others wait for.

What counts is the kernel's lock on the file (flock), which ends with the process that has it, however that ends: a
file that a killed process has left is no obstacle. Some network file systems have no such locks; there, whoever has
created the file has the lock, and its content tells whether that process still lives.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stein_bench.errors import UsageError

SUFFIX = ".lock"
POLL_SECONDS = 0.2
"""Seconds between two looks at a lock that another process has."""
_ATTEMPTS = 5
"""Attempts to take a lock: a file may be removed, or briefly be looked at, by another process."""
_PAUSE = 0.03
_CLOCKS = 2.0
"""Seconds by which the start of a process may seem later than it was: the system's clock has been set."""

Say = Callable[[str], None]
"""Shows the user a message of one line."""


@dataclass(frozen=True)
class Holder:
    """The process that has a lock: its number, its machine, and since when (seconds since 1970)."""

    pid: int
    host: str
    started: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class HeldError(Exception):
    """Another process has the lock.

    Args:
        path: the lock file.
        holder: that process; None if it is unknown.
        certain: whether the process is known to live; otherwise the file is all there is to judge by.
    """

    def __init__(self, path: Path, holder: Holder | None, *, certain: bool) -> None:
        super().__init__(str(holder or "another process"))
        self.path, self.holder, self.certain = path, holder, certain

    @property
    def advice(self) -> str:
        """Return what to do if the file is all there is to judge by, with a leading space; else an empty text."""
        return "" if self.certain else f" If that process is gone, delete {self.path}."


@dataclass(frozen=True)
class Lock:
    """A lock that this process has, until it is released.

    Attributes:
        path: the file.
        taken_from: the process that had left it behind, where only the file told; None otherwise.
    """

    path: Path
    _handle: int
    _flocked: bool
    taken_from: Holder | None = None
    _pid: int = -1

    def release(self) -> None:
        """Remove the file and give up the lock; in a child of the process that has taken it, do nothing."""
        if os.getpid() != self._pid:
            return
        with suppress(OSError):
            if _is_at(self._handle, self.path):
                os.unlink(self.path)  # while it is locked, so that nobody else's file is removed
        with suppress(OSError):
            if self._flocked:
                _unlock(self._handle)  # closing does not unlock as long as a forked child has the file open
        os.close(self._handle)


def lock_path(output: str | Path) -> Path:
    """Return the path of the lock file of an output."""
    return Path(f"{Path(output).expanduser()}{SUFFIX}")


def take(path: Path) -> Lock:
    """Take a lock.

    Raises:
        HeldError: another process has it.
        OSError: the file can be neither created nor read.
    """
    taken_from: Holder | None = None
    held: HeldError | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        try:
            return _created(path, taken_from)
        except FileExistsError:
            pass
        try:
            taken_from = _removed(path)
        except HeldError as error:
            held = error
        except FileNotFoundError:  # removed meanwhile
            held = None
    raise held or HeldError(path, None, certain=True)


@contextmanager
def _keeping(lock: Lock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Keep the lock at `path` while the body runs; raises what `take` does."""
    with _keeping(take(path)):
        yield


@contextmanager
def sole_writer(option: str, output: str | Path, say: Say) -> Iterator[None]:
    """Keep other processes from writing `output` while the body runs.

    Where no lock file can be made, as in a read-only folder, nothing is locked: the output cannot be written either.

    Args:
        option: names the output in the message.
        output: the file.
        say: is told if a lock was taken over that a process had left behind.

    Raises:
        UsageError: another process is writing it.
    """
    try:
        lock = take(lock_path(output))
    except HeldError as held:
        raise being_written(option, output, held) from None
    except OSError:
        yield
        return
    with _keeping(lock):
        tell(lock, say)
        yield


@contextmanager
def taking_turns(path: Path, what: str, say: Say) -> Iterator[None]:
    """Wait until no other process has the lock at `path`, and keep it while the body runs.

    Where no lock file can be made, the body runs without one.

    Args:
        path: the lock file.
        what: what the other process is doing, e.g. ``fitting this network``, for the message while it is waited for.
        say: is told once that it is waited for, and which one.
    """
    lock, told = None, False
    while lock is None:
        try:
            lock = take(path)
        except HeldError as held:
            if not told:
                say(f"another process ({_shown(held.holder)}) is {what}: waiting.{held.advice}")
                told = True
            time.sleep(POLL_SECONDS)
        except OSError:
            yield
            return
    with _keeping(lock):
        tell(lock, say)
        yield


def being_written(option: str, output: str | Path, held: HeldError) -> UsageError:
    """Return the error for an output that another process is writing."""
    return UsageError(
        f"{option} {output} is being written by another run ({_shown(held.holder)}): wait for it, end it, or choose "
        f"another --output.{held.advice}"
    )


def _shown(holder: Holder | None) -> str:
    return "process unknown" if holder is None else str(holder)


def tell(lock: Lock, say: Say) -> None:
    """Say if the lock was one that a process had left behind."""
    if lock.taken_from is not None:
        say(f"{lock.path} was left behind by {lock.taken_from}, which has ended: going on")


def _created(path: Path, taken_from: Holder | None) -> Lock:
    """Create the file, locked.

    Raises:
        FileExistsError: it exists, or another process has locked it at once.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        flocked = _flock(handle)
        if flocked is False or not _is_at(handle, path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        own = Holder(os.getpid(), socket.gethostname(), time.time())
        with suppress(OSError):  # a full disk: the lock holds, only nobody can read whose it is
            os.write(handle, json.dumps(asdict(own)).encode())
    except BaseException:
        os.close(handle)
        raise
    return Lock(path, handle, flocked is True, taken_from, own.pid)


def _removed(path: Path) -> Holder | None:
    """Remove a file that no process has locked any more.

    Returns:
        the process that had left it, if only its content told that it has ended.

    Raises:
        HeldError: a process has it.
        OSError: it cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDWR)
    except PermissionError:
        handle = os.open(path, os.O_RDONLY)  # another user's, in a folder that both may write
    try:
        flocked = _flock(handle)
        if flocked is False:
            raise HeldError(path, _holder(path), certain=True)
        holder = None if flocked else _holder(path)
        if not flocked and (holder is None or not _has_ended(holder)):
            raise HeldError(path, holder, certain=holder is not None and holder.host == socket.gethostname())
        if not _is_at(handle, path):
            return None
        os.unlink(path)
        return holder
    finally:
        os.close(handle)


def _flock(handle: int) -> bool | None:
    """Lock an open file and return whether that was possible; None if there are no locks here."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _unlock(handle: int) -> None:
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_UN)


def _is_at(handle: int, path: Path) -> bool:
    """Return whether an open file is the one at `path`: it may have been removed since it was opened."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> Holder | None:
    """Return what a lock file says about its process; None if it says nothing that makes sense."""
    for _ in range(_ATTEMPTS):
        try:
            found = json.loads(path.read_bytes())
            return Holder(int(found["pid"]), str(found["host"]), float(found["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(_PAUSE)  # it may just be written
    return None


def _has_ended(holder: Holder) -> bool:
    """Return whether the process is known to have ended: none here has its number, or only a younger one."""
    if holder.host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(holder.pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass  # another user's
    began = _began(holder.pid)
    return began is not None and began > holder.started + _CLOCKS


def _began(pid: int) -> float | None:
    """Return when a process began, in seconds since 1970; None where the system does not tell as Linux does."""
    with suppress(OSError, ValueError, IndexError):
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        (boot,) = (line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return None
