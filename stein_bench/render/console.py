"""Printing to the terminal: nothing is cut off, and no name in a text can steer the terminal or a CI's runner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from stein_bench.errors import visible, without_commands

NARROWEST = 80
"""Smallest width in columns, even if the terminal is narrower."""
_UNLIMITED = 10_000


class Terminal(Console):
    """A console that shows every text as it is written: see `visible`; without markup, emoji codes and highlighting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    @property
    def file(self) -> IO[str]:
        """The stream, in whose lines GitHub Actions finds no workflow command."""
        return _Plain(super().file)  # type: ignore[return-value]  # it has what the stream has

    @file.setter
    def file(self, new: IO[str]) -> None:
        Console.file.__set__(self, new)  # type: ignore[attr-defined]

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text for display."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the parts of what is to be shown."""
        if isinstance(renderable, Text) and visible(renderable.plain) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = visible(renderable.plain)
        for part in super().render(renderable, options):
            yield part if part.control else Segment(visible(part.text), part.style)


class _Plain:
    """A stream whose `write` leaves out workflow commands."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write whole lines."""
        return self._stream.write(without_commands(text))


def print_uncut(
    shown: RenderableType,
    console: Console | None = None,
    *,
    unbroken: Sequence[RenderableType] = (),
    squeezed: RenderableType | None = None,
) -> None:
    """Print to stdout, or to `console`; on a console that is too narrow, lines overflow instead of being cut.

    Args:
        shown: what to print.
        console: where to.
        unbroken: tables that get their full width, so that none of their cells wraps.
        squeezed: a table that gets the width it needs with every cell wrapped as far as possible.
    """
    console = console or Terminal()
    wide = console.options.update(width=_UNLIMITED)
    needed = [console.measure(table, options=wide).maximum for table in unbroken]
    if squeezed is not None:
        needed.append(console.measure(squeezed, options=wide).minimum)
    console.width = max(NARROWEST, console.width, *needed)
    console.print(shown)


def note_list(lines: Iterable[str]) -> Table:
    """Return the lines as a dim list of notes with dashes."""
    return marked_notes(("-", line, "dim") for line in lines)


def marked_notes(notes: Iterable[tuple[str, str, str]]) -> Table:
    """Return notes, each a mark, a line and a style, as a list. Words longer than a line are folded, not cut."""
    listed = Table.grid(padding=(0, 1, 0, 0))
    for mark, line, style in notes:
        listed.add_row(mark, Text(visible(line), overflow="fold"), style=style)
    return listed
