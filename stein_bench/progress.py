"""Progress interface: phases with a number of steps, and notes. The default is silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol


class Left(NamedTuple):
    """The seconds that are probably left of a run, and between which they mostly are."""

    seconds: float
    low: float
    high: float


class Progress(Protocol):
    """An observer of a run; `render.progress` draws it on a terminal."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Begin a phase of `total` samples, of which `done` are already finished."""

    def advance(self, samples: int, note: str = "") -> None:
        """Count `samples` as finished; `note` is a short figure such as the running accuracy."""

    def finish(self) -> None:
        """End the phase."""

    def note(self, message: str) -> None:
        """Show the user a message of one line."""


class Silent:
    """Ignores everything."""

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Ignore the phase."""

    def advance(self, samples: int, note: str = "") -> None:
        """Ignore the step."""

    def finish(self) -> None:
        """Ignore the end."""

    def note(self, message: str) -> None:
        """Ignore the message."""


def show_left(progress: Progress, left: Left | None) -> None:
    """Show how much time is left of the whole run, or that nothing is known, on displays that have a place for it.

    Displays with a method ``left`` have: see `render.progress`.
    """
    shown = getattr(progress, "left", None)
    if callable(shown):
        shown(left)


@contextmanager
def phase(progress: Progress, name: str, total: int, done: int = 0) -> Iterator[None]:
    """Run the body as one phase; it also ends if the body raises."""
    progress.start(name, total, done)
    try:
        yield
    finally:
        progress.finish()


_CURRENT: ContextVar[Progress | None] = ContextVar("progress", default=None)


def current() -> Progress:
    """Return the display of the running command, for parts that rarely have anything to show and get no observer."""
    progress = _CURRENT.get()
    return Silent() if progress is None else progress


@contextmanager
def shown_on(progress: Progress) -> Iterator[None]:
    """Make `progress` the `current` one in the body."""
    token = _CURRENT.set(progress)
    try:
        yield
    finally:
        _CURRENT.reset(token)
