"""Progress on stderr: a bar per phase on a terminal, else a line per finished phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stein_bench.errors import one_line
from stein_bench.progress import Left, Silent, shown_on
from stein_bench.render.console import Terminal
from stein_bench.report.number_format import about, about_between


class _Speed(ProgressColumn):
    """Samples per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{speed:.0f}/s" if speed >= 10 else f"{speed:.1f}/s")


UNKNOWN = 8
"""From this ratio of its bounds on, a time is shown by them alone: how many samples survive is not known yet."""
SHORTEST = 5.0
"""Less time left than so many seconds is not shown."""


def time_left(left: Left | None, *, between: bool) -> str:
    """Write the time that is left, with the interval it is in if that is asked for; empty if there is nothing to say.

    >>> time_left(Left(720, 480, 1200), between=True), time_left(Left(720, 480, 1200), between=False)
    ('about 12 min left (8 to 20 min)', 'about 12 min left')
    >>> time_left(Left(3600, 30, 7200), between=False)
    '30 s to 2 h left'
    """
    if left is None or not left.seconds >= SHORTEST:
        return ""
    interval = about_between(left.low, left.high)
    if left.high > UNKNOWN * left.low:
        return f"{interval} left"
    text = f"about {about(left.seconds)} left"
    return f"{text} ({interval})" if between and interval != about(left.seconds) else text


class _Bars(Progress):
    """Bars with a last line of text below them, if there is one."""

    last_line = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        if self.last_line:
            yield Text(self.last_line)


class TerminalProgress:
    """Draws bars on `console` (stderr); they stay after their phase ends. Use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _Bars(
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]:>15}", markup=False),
            _Speed(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            expand=False,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.last_line = ""
        self._bars.stop()

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Start a bar of `total` samples, `done` of them already finished."""
        self._task = self._bars.add_task(one_line(phase), total=total, completed=done, note="")

    def advance(self, samples: int, note: str = "") -> None:
        """Advance the bar and show `note` beside it."""
        if self._task is not None:
            self._bars.update(self._task, advance=samples, note=one_line(note))

    def finish(self) -> None:
        """End the bar; it stays on the screen."""
        if self._task is not None:
            self._bars.stop_task(self._task)
        self._task = None

    def left(self, left: Left | None) -> None:
        """Show the time left of the whole run below the bars."""
        text = time_left(left, between=True)
        self._bars.last_line = f"all: {text}" if text else ""

    def note(self, message: str) -> None:
        """Print one line above the bars."""
        self._bars.console.print(one_line(message), markup=False, emoji=False, highlight=False)


class PlainProgress:
    """Writes a line per finished phase to `console` (stderr): for log files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase, self._note = "", ""
        self._done = self._total = 0
        self._started = 0.0
        self._left: Left | None = None

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, phase: str, total: int, done: int = 0) -> None:
        """Start a phase."""
        self._phase, self._total, self._done, self._note = phase, total, done, ""
        self._started = time.monotonic()

    def advance(self, samples: int, note: str = "") -> None:
        """Count the samples and remember the latest `note`."""
        self._done += samples
        self._note = note

    def finish(self) -> None:
        """Write the line of the finished phase."""
        seconds = time.monotonic() - self._started
        figure = f", {self._note}" if self._note else ""
        left = time_left(self._left, between=False)
        ending = f"; {left}" if left else ""
        self.note(f"{self._phase}: {self._done} of {self._total}{figure}, {seconds:.1f} s{ending}")

    def left(self, left: Left | None) -> None:
        """Remember the time left of the whole run, for the line of the next finished phase."""
        self._left = left

    def note(self, message: str) -> None:
        """Write one line."""
        self._console.print(one_line(message), markup=False, emoji=False, highlight=False, soft_wrap=True)


@contextmanager
def terminal_progress(*, quiet: bool) -> Iterator[TerminalProgress | PlainProgress | Silent]:
    """Yield the progress display for stderr: bars on a terminal, else lines, nothing if `quiet`."""
    if quiet:
        yield Silent()
        return
    console = Terminal(stderr=True)
    drawn = TerminalProgress(console) if console.is_terminal else PlainProgress(console)
    with drawn, shown_on(drawn):
        yield drawn
