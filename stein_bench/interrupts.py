"""Signals that end a program like Ctrl-C, with everything kept: SIGTERM, and SIGUSR1, Slurm's usual warning."""

from __future__ import annotations

import signal
import threading
from types import FrameType

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
