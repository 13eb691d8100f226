"""Printing to the terminal without cutting anything off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

NARROWEST = 80
"""Smallest width in columns, even if the terminal is narrower."""
_UNLIMITED = 10_000


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
    console = console or Console()
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
        listed.add_row(mark, Text(line, overflow="fold"), style=style)
    return listed
