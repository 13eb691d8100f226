"""Signals that end a program like Ctrl-C, with everything kept: SIGTERM, and SIGUSR1, Slurm's usual warning."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from stein_bench.exit_codes import INTERRUPTED

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """One of these signals came; handled wherever Ctrl-C is."""


def end_like_interrupt() -> None:
    """Let the signals end this program as Ctrl-C does, from now on. They are ignored after the first.

    A scheduler sends several, and a second one must not cut off what is being kept after the first. Outside the main
    thread, which alone may change what signals do, nothing happens.
    """
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, _end)


def ignore_ending_signals() -> None:
    """Ignore the signals: the program is ending already."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, _: FrameType | None) -> None:
    ignore_ending_signals()
    raise Terminated(signal.Signals(number).name)


@contextmanager
def ending_at_once(message: str) -> Iterator[None]:
    """Let Ctrl-C and the signals end the program with that message in the middle of the body, which keeps nothing.

    Python itself handles a signal only after a call into a library has returned, and one that waits for another
    process may never return. Outside the main thread nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    threading.Thread(target=_end_on, args=(reading, message), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(writing, b"\0")
        os.close(writing)


def _end_on(reading: int, message: str) -> None:
    """Wait for the number of a signal, or 0, and end the program for those that end it."""
    while number := os.read(reading, 1):
        if number == b"\0":
            break
        if number[0] in (signal.SIGINT, *ENDING):
            end_at_once(message, INTERRUPTED)
    os.close(reading)


def end_at_once(message: str, code: int) -> NoReturn:
    """Print a message, if it is not empty, and end the program, whatever its main thread is doing."""
    if message:
        sys.stderr.write(f"stein-bench: {message}\n")
        sys.stderr.flush()
    os._exit(code)
