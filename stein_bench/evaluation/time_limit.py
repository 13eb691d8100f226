"""A limit of the time that an attack may take for a batch, whatever its code does.

Python's timer interrupts the attack in the main thread. Code that does not return to Python cannot be interrupted; some
seconds later a thread then says so and ends the process, where that is wanted.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from stein_bench.errors import RunError, UsageError

T = TypeVar("T")

OPTION = "--timeout-per-batch"
AGAIN = 1.0
"""Seconds after which an attack that has caught the interruption is interrupted again."""
GRACE = 10.0
"""Seconds after the limit until an attack that cannot be interrupted counts as hanging."""
_HANGS = re.compile(rf"did not end, nor could it be stopped, within ([0-9.e+-]+) s for one batch \({OPTION}\)")


class TimedOutError(RunError):
    """An attack took longer than the limit and was stopped."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took longer than {seconds:g} s for one batch and was stopped ({OPTION}).")


class _Interruption(BaseException):
    """Raised in the middle of an attack; no ``except Exception`` of its code catches it."""


def check_time_limit(seconds: float | None) -> None:
    """Raise a `UsageError` if a limit was given that cannot be kept here."""
    if seconds is None:
        return
    if not hasattr(signal, "setitimer"):
        raise UsageError(f"{OPTION} needs the timers of Unix, which this system lacks: leave it out.")
    if threading.current_thread() is not threading.main_thread():
        raise UsageError(
            f"{OPTION} (timeout_per_batch) interrupts attacks in the main thread alone: call this from there, or leave "
            "it out."
        )


def hanging_message(seconds: float) -> str:
    """Return why an attack has failed that could not be stopped at a limit of `seconds`."""
    return f"it did not end, nor could it be stopped, within {seconds:g} s for one batch ({OPTION})"


def hangs_within(message: str, seconds: float | None) -> bool:
    """Return whether a message says that an attack could not be stopped, at this limit or a larger one.

    With it the attack is not tried again, as it would end the run again; without a limit, or with a larger one, it is.
    """
    found = _HANGS.search(message)
    return found is not None and seconds is not None and seconds <= float(found[1])


class _Watch(threading.Thread):
    """Calls `hanging`, which may end the process, unless `leave` was called before the time is over."""

    def __init__(self, seconds: float, hanging: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._seconds, self._hanging = seconds, hanging
        self._left, self._deciding = threading.Event(), threading.Lock()

    def run(self) -> None:
        self._left.wait(self._seconds)
        with self._deciding:
            if not self._left.is_set():
                self._hanging()

    def leave(self) -> None:
        with self._deciding:  # if the other thread is ending the process, this one waits for its end
            self._left.set()


class _Alarm:
    """The handler of the timer: interrupts what runs, except while a context manager puts something back in order."""

    def __init__(self) -> None:
        self.armed = self.rang = False

    def __call__(self, _: int, frame: FrameType | None) -> None:
        if self.armed:
            self.rang = True
            if not _in_context_manager(frame):
                raise _Interruption


def _in_context_manager(frame: FrameType | None) -> bool:
    """Return whether a context manager is being entered or left in this frame or around it, up to `limited`."""
    while frame is not None and frame.f_code is not limited.__code__:
        if frame.f_code.co_name in ("__enter__", "__exit__"):
            return True
        frame = frame.f_back
    return False


def limited(seconds: float | None, compute: Callable[[], T], hanging: Callable[[], None] | None = None) -> T:
    """Return what `compute` returns, or interrupt it after so many `seconds`, once a second until it ends.

    The timer of the process and the handler of its signal are left as they were.

    Args:
        seconds: the limit; None for none.
        compute: the work, in the main thread.
        hanging: called in another thread if the work has not ended `GRACE` seconds after the limit; ends the process.

    Raises:
        TimedOutError: the work took longer, also if it caught the interruption.
    """
    if seconds is None:
        return compute()
    alarm, started = _Alarm(), time.monotonic()
    handler = signal.signal(signal.SIGALRM, alarm)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    watch = None if hanging is None else _Watch(seconds + GRACE, hanging)
    try:
        if watch is not None:
            watch.start()
        try:
            alarm.armed = True
            result = compute()
        finally:
            alarm.armed = False
    except _Interruption:
        pass
    except Exception:
        if not alarm.rang:  # else it is an answer to the interruption
            raise
    finally:
        alarm.armed = False
        if watch is not None:
            watch.leave()
        _restore(handler, timer, started)
    if alarm.rang:
        raise TimedOutError(seconds)
    return result


def _restore(handler: Any, timer: tuple[float, float], started: float) -> None:
    """Put back the handler of the signal, and the timer with the time that it had left."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    left, interval = timer
    if left:
        signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-6), interval)
