"""Printing to the terminal: nothing is cut off, and no name in a text can steer the terminal or a CI's runner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from stein_bench.errors import visible, without_commands

NARROWEST = 40
"""Smallest width in columns, even if the terminal is narrower."""
PIPED = 80
"""Width in columns where nobody says one: output to a file or another program does not depend on a terminal's."""


class Terminal(Console):
    """A console that shows every text as it is written: see `visible`; without markup, emoji codes and highlighting."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        if self._width is None and not self.is_terminal:
            self._width = PIPED

    @property
    def file(self) -> IO[str]:
        """The stream, in whose lines GitHub Actions finds no workflow command."""
        return _Plain(super().file)  # type: ignore[return-value]  # it has what the stream has

    @file.setter
    def file(self, new: IO[str]) -> None:
        Console.file.__set__(self, new)  # type: ignore[attr-defined]

    def on_broken_pipe(self) -> None:
        """Raise, as every stream does: rich would end the program with an exit code of its own."""
        raise BrokenPipeError

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
    """A stream whose `write` leaves out workflow commands and, unless it is a terminal, spaces at the ends of lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write whole lines."""
        return self._stream.write(without_commands(text if self._stream.isatty() else _AT_END.sub("", text)))


_AT_END = re.compile(r" +(?=\n)")


def print_uncut(shown: RenderableType, console: Console | None = None) -> None:
    """Print to stdout, or to `console`. Words that are longer than a line make it longer; nothing is cut or folded."""
    console = console or Terminal()
    console.width = max(NARROWEST, console.width)
    console.print(shown, crop=False)


_WORD = re.compile(r"\s*\S+")
_PIECE = re.compile(r"\s*\S+?(?:,(?=[^\W\d])|(?!\S))")


def wrapped(text: Text, width: int) -> list[Text]:
    """Return a text in lines of at most this width, without spaces at their ends.

    Longer words stay whole, but for lists of parameters, which may go on after a comma.
    """
    found = []
    for line in text.split("\n", allow_blank=True):
        ends, room = [], width
        for word in _WORD.finditer(line.plain) if _fits(line.plain, width) else _PIECE.finditer(line.plain):
            needed = cell_len(word[0])
            if needed > room and word.start():
                ends.append(word.start())
                needed, room = cell_len(word[0].lstrip()), width
            room -= needed
        for number, part in enumerate(line.divide(ends)):
            part.rstrip()
            found.append(part[len(part.plain) - len(part.plain.lstrip()) :] if number else part)
    return found


def _fits(line: str, width: int) -> bool:
    return all(cell_len(word) <= width for word in line.split())


class Paragraph:
    """A text on as many lines as it needs; no word is broken."""

    def __init__(self, text: str | Text, style: str = "") -> None:
        self._text = Text(visible(text), style=style) if isinstance(text, str) else text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from map(_whole, wrapped(self._text, options.max_width))


class Notes:
    """A list of notes, each a mark, a line and a style, for any width; no word is broken."""

    def __init__(self, notes: Iterable[tuple[str, str, str]]) -> None:
        self._notes = tuple(notes)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for mark, line, style in self._notes:
            for number, part in enumerate(wrapped(Text(visible(line)), options.max_width - len(mark) - 1)):
                lead = " " * len(mark) if number else mark
                yield _whole(Text(f"{lead} {part.plain}", style=style))


def note_list(lines: Iterable[str]) -> Notes:
    """Return the lines as a list of notes with dashes."""
    return Notes(("-", line, "") for line in lines)


def _whole(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ignore"
    return line
