"""Processes that watch each other, so that one that fails or dies ends all, and none waits for ever.

All of them share the key-value store that torch's own rendezvous uses. Each counts there while it lives; the first that
fails leaves its message there. Nothing of the work passes through it.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import distributed as dist

from stein_bench.distributed.group import host, joined, set_store
from stein_bench.errors import RunError
from stein_bench.exit_codes import FAILED
from stein_bench.interrupts import end_at_once, ending_at_once
from stein_bench.launch import speaks

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE_VARIABLE = "STEIN_BENCH_SILENCE"
"""Environment variable: seconds after which a process without a sign of life counts as dead."""
SILENCE = 120.0
"""Its default. A process gives signs of life while it computes, waits and reads."""
STUCK = 60.0
"""Seconds after which a process ends at once that has been told to end, but waits in an exchange with a dead one."""
LEAVING = 20.0
"""Seconds that a process which has failed waits for the others to leave as well; torchrun kills them after 30."""


@dataclass(frozen=True)
class Failure:
    """Why all processes end.

    Attributes:
        rank, where: of the process at fault, and the name of its machine.
        message: one line.
        code: the exit code of all processes.
        gone: whether that process has died without a word, so that it cannot report this itself.
    """

    rank: int
    where: str
    message: str
    code: int
    gone: bool = False

    @property
    def line(self) -> str:
        """The message with the process at fault, for the first process to print."""
        return f"rank {self.rank} on {self.where}: {self.message}"


class Store(Protocol):
    """What is used of torch's key-value stores."""

    def set(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> Any: ...
    def add(self, key: str, amount: int) -> int: ...
    def check(self, keys: list[str]) -> bool: ...
    def compare_set(self, key: str, expected: str, desired: str) -> Any: ...


class PeerError(RunError):
    """Another process has failed or died."""


class Watch:
    """This process's view of the others.

    Args:
        store: shared by all processes.
        rank, size: of this process, and how many there are.
        interrupt: called from another thread once the processes must end; it interrupts the main thread.
    """

    def __init__(self, store: Store, rank: int, size: int, interrupt: Callable[[], None]) -> None:
        self._store, self.rank, self.size, self._interrupt = store, rank, size, interrupt
        self._silence = float(os.environ.get(SILENCE_VARIABLE, SILENCE))
        self._failure: Failure | None = None
        self._lost = self._leaving = False
        self._meetings = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="signs of life", daemon=True)

    def start(self) -> None:
        """Introduce this process to the others, and begin to give and look for signs of life."""
        self._store.set(f"who/{self.rank}", json.dumps([host(), os.getpid()]))
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self) -> None:
        """Return once every process has called this as often as this one.

        Raises:
            PeerError: one of them has failed or died.
        """
        self._meetings += 1
        key, pause = f"meeting/{self._meetings}", 0.001
        self._add(key, 1)
        while self._add(key, 0) < self.size:
            self.check()
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def take(self, key: str) -> int:
        """Return how often `take` was called with this key before, in all processes."""
        self.check()
        return self._add(key, 1) - 1

    def check(self) -> None:
        """Raise a `PeerError` if a process has failed or died."""
        failure = self.failure()
        if failure is not None:
            raise PeerError(failure.line)

    def own(self, message: str, code: int) -> Failure:
        """Record why this process ends, for the others; what one of them recorded before stays."""
        own = Failure(self.rank, host(), message, code)
        with suppress(RuntimeError):
            self._store.compare_set("failure", "", json.dumps(asdict(own)))
        return own

    def failure(self) -> Failure | None:
        """Return why all processes end, as far as is known."""
        if self._failure is None and not self._lost:
            try:
                if self._store.check(["failure"]):
                    self._failure = Failure(**json.loads(self._store.get("failure")))
            except RuntimeError:  # torch's network errors are of this class
                self._lost = True
        if self._failure is None and self._lost:
            self._failure = Failure(
                0, "the first node", "the connection to it is lost: the process or its machine has gone.", FAILED,
                gone=True,
            )  # fmt: skip
        return self._failure

    def speaks(self, failure: Failure) -> bool:
        """Return whether this process prints why all end: the first one, or the second if the first has died."""
        return self.rank == (1 if failure.gone and failure.rank == 0 else 0)

    def died(self) -> Failure | None:
        """Return a failure for a process of this machine that has ended without leaving; it is recorded."""
        for other in range(self.size):
            with suppress(RuntimeError):
                if other == self.rank or not self._store.check([f"who/{other}"]) or self._has_left(other):
                    continue
                where, pid = json.loads(self._store.get(f"who/{other}"))
                if where == host() and not _runs(pid):
                    return self._record(other, where, f"{_GONE} {_KEPT}")
        return None

    def leave(self) -> None:
        """Tell the others that this process ends, and wait a little for them to do the same.

        The first process, which may hold the store, waits until no other one uses it.
        """
        self._leaving = True
        with suppress(RuntimeError):
            self._store.set(f"left/{self.rank}", "1")
            self._until_all("left")
            self.stop()
            self._store.set(f"closed/{self.rank}", "1")
            if self.rank == 0:
                self._until_all("closed")

    def _until_all(self, mark: str) -> None:
        deadline = time.monotonic() + LEAVING
        while time.monotonic() < deadline and not all(self._is_gone(mark, other) for other in range(self.size)):
            time.sleep(0.05)

    def _is_gone(self, mark: str, other: int) -> bool:
        if self._store.check([f"{mark}/{other}"]):
            return True
        if not self._store.check([f"who/{other}"]):
            return False
        where, pid = json.loads(self._store.get(f"who/{other}"))
        return where == host() and not _runs(pid)

    def _has_left(self, other: int) -> bool:
        return bool(self._store.check([f"left/{other}"]))

    def _record(self, other: int, where: str, message: str) -> Failure:
        found = Failure(other, where, message, FAILED, gone=True)
        self._store.compare_set("failure", "", json.dumps(asdict(found)))
        return self.failure() or found

    def _add(self, key: str, amount: int) -> int:
        try:
            return self._store.add(key, amount)
        except RuntimeError:
            self._lost = True
            self.check()
            raise

    def _beat(self) -> None:
        """Give signs of life, and look for failures and silent processes, until this process ends."""
        seen, changed = [-1] * self.size, [time.monotonic()] * self.size
        keys = [f"beat/{other}" for other in range(self.size)]
        told: float | None = None
        while not self._stopped.wait(BEAT):
            try:
                self._store.add(keys[self.rank], 1)
                for other, key in enumerate(keys):
                    count = self._store.add(key, 0)
                    if count != seen[other]:
                        seen[other], changed[other] = count, time.monotonic()
                    elif time.monotonic() - changed[other] > self._silence and not self._has_left(other):
                        where = json.loads(self._store.get(f"who/{other}"))[0] if seen[other] > 0 else "its node"
                        self._record(other, where, f"no sign of life for {self._silence:.0f} s: {_GONE} {_KEPT}")
            except RuntimeError:
                self._lost = True
            failure = self.failure()
            if failure is None or self._leaving:
                continue
            if told is None:
                told = time.monotonic()
                self._interrupt()
            elif time.monotonic() - told > STUCK:
                end_at_once(failure.line if self.speaks(failure) else "", failure.code)


_GONE = "it ended without a message, perhaps killed for lack of memory, or its machine is gone."
_KEPT = "Finished work is kept: with --output, add --resume to continue."


def _runs(pid: int) -> bool:
    """Return whether a process of this machine runs; one that has ended and was not waited for does not."""
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def watched(interrupt: Callable[[], None]) -> Iterator[Watch]:
    """Join the other processes that `torchrun` started, and watch them during the body.

    Args:
        interrupt: see `Watch`.
    """
    with ExitStack() as stack:
        with ending_at_once(
            "interrupted." if speaks() else ""
        ):  # a process that never comes is waited for in torch's own code
            stack.enter_context(joined())
            address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            shared = dist.TCPStore(*address, is_master=False, wait_for_workers=False)  # type: ignore[attr-defined]
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"stein-bench/{attempt}", shared)  # type: ignore[attr-defined]
        watch = Watch(store, dist.get_rank(), dist.get_world_size(), interrupt)
        watch.start()
        set_store(watch.wait, watch.take)
        try:
            yield watch
        finally:
            set_store(None, None)
            watch.stop()


def interrupt_main_thread() -> None:
    """Send this process's main thread the signal that ends it with everything kept."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
