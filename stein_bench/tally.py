"""Which of several long pieces of work runs, how many are left, and for about how long."""

from __future__ import annotations

from dataclasses import dataclass, field

from stein_bench.progress import Progress


@dataclass
class Tally:
    """Counts pieces of work, and notes which one begins and what is left.

    Attributes:
        total: their number.
        progress: is shown the notes.
        what: what one is called, e.g. ``cell``.
        done: how many have begun.
        seconds: how long each finished one took.
    """

    total: int
    progress: Progress
    what: str
    done: int = 0
    seconds: list[float] = field(default_factory=list)

    def begin(self, title: str, found: bool) -> None:
        """Note that the next one, called `title`, begins, or that its result was `found`."""
        left = self.total - self.done - 1
        self.done += 1
        if found:
            self.progress.note(f"{self.what} {self.done} of {self.total}: {title}: found")
            return
        rest = f"{left} left"
        if self.seconds:
            rest += f", about {duration((left + 1) * sum(self.seconds) / len(self.seconds))} to go"
        self.progress.note(f"{self.what} {self.done} of {self.total}: {title} ({rest})")


def duration(seconds: float) -> str:
    """Write a duration in minutes, at least one, or in hours and minutes.

    >>> duration(30), duration(720), duration(3780)
    ('1 min', '12 min', '1 h 03 min')
    """
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min"
