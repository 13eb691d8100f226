"""Columns of text that give way by their importance: what `text_table.TextTable` consists of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

from stein_bench.render.console import wrapped

ROOM = 12
"""Width from which on a column of names is not made narrower, and names may stand in it beside their figures."""

Narrow = Literal["beneath", "join", "under"]


@dataclass(frozen=True)
class Column:
    """A column of a `TextTable`.

    Attributes:
        header: its title, in one or more lines.
        name: whether its cells are names or sentences: they name their row in every part of the table, and may go on in
            the next line between two words. Other cells are figures and stay on their lines.
        right: whether its cells are at its right edge.
        point: whether figures are moved so that their decimal points stand one below the other.
        lead: whether its cells hold for the rows below as well, in which they are empty. All leading columns may
            become a line above those rows.
        narrow: its narrower form: ``beneath``, what is in parentheses in a line of its own; ``join`` and ``under``, the
            cell after that of the column before it, or in a line below that.
        importance: columns of less importance take their narrower form sooner, and come later in a table of several
            parts.
    """

    header: str
    name: bool = False
    right: bool = False
    point: bool = False
    lead: bool = False
    narrow: Narrow | None = None
    importance: int = 0


@dataclass(frozen=True, eq=False)
class Strip:
    """A column while it is fitted: the lines of its header and of each of its cells."""

    column: Column
    header: tuple[str, ...]
    cells: tuple[tuple[Text, ...], ...]

    @cached_property
    def width(self) -> int:
        """The width of its longest line."""
        return max(_widest(map(Text, self.header)), max(map(_widest, self.cells), default=0))

    @cached_property
    def longest_word(self) -> int:
        """The width of the longest word in header and cells."""
        lines = [line.plain for lines in self.cells for line in lines]
        return max((cell_len(word) for line in (*self.header, *lines) for word in line.split()), default=0)

    def folded(self, width: int) -> Strip:
        """Return the column with lines of at most this width where words allow it."""
        header = tuple(part.plain for line in self.header for part in wrapped(Text(line), width))
        cells = tuple(tuple(part for line in lines for part in wrapped(line, width)) for lines in self.cells)
        return replace(self, header=header, cells=cells)


@dataclass(frozen=True, eq=False)
class Part:
    """Columns side by side with their gap, and by row the lines above it, if there are some."""

    strips: tuple[Strip, ...]
    gap: int
    above: Mapping[int, Sequence[Text]]

    @cached_property
    def width(self) -> int:
        """The width of its lines, except for those above rows."""
        return sum(strip.width for strip in self.strips) + self.gap * (len(self.strips) - 1)


def flat(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def _widest(lines: Sequence[Text] | Iterator[Text]) -> int:
    return max((line.cell_len for line in lines), default=0)


def narrower(part: Part, may: Callable[[Column], bool]) -> Iterator[Part]:
    """Yield a part, and again with narrower columns: each time those of one importance, the least important first."""
    yield part
    columns = [strip.column for strip in part.strips if strip.column.narrow and may(strip.column)]
    for importance in sorted({column.importance for column in columns}):
        before = part.width
        for column in (column for column in columns if column.importance == importance):
            narrow = replace(part, strips=_with_narrow(part.strips, column))
            part = narrow if narrow.width < part.width else part
        if part.width < before:
            yield part


def with_folded_names(part: Part, width: int) -> Part:
    """Return a part with names in several lines, as far as needed and possible."""
    for strip in sorted((s for s in part.strips if s.column.name), key=lambda s: -s.width):
        if part.width > width:
            folded = strip.folded(max(strip.width - (part.width - width), strip.longest_word, ROOM))
            part = replace(part, strips=tuple(folded if s is strip else s for s in part.strips))
    return part


def with_names_above(part: Part, width: int, room: int | None = None) -> Part:
    """Return a part with one column of names; those that are too long for it are lines above the rest of their rows.

    The column has at most the width `room`, by default what the figures leave. In a table of sentences, the first
    column has the names.
    """
    if not any(not strip.column.name for strip in part.strips):
        sentences = [strip.folded((width - ROOM) // (len(part.strips) - 1) - part.gap) for strip in part.strips[1:]]
        others = [replace(strip, column=replace(strip.column, name=False)) for strip in sentences]
        return with_names_above(replace(part, strips=(part.strips[0], *others)), width, ROOM) if others else part
    keys = [strip for strip in part.strips if strip.column.name]
    figures = [strip for strip in part.strips if not strip.column.name]
    room = width - sum(strip.width + part.gap for strip in figures) if room is None else room
    if not keys or room < ROOM:
        return part
    above = {number: [*lines] for number, lines in part.above.items()}
    one = _merged(keys, room, above)
    strips = tuple(one if strip is keys[0] else strip for strip in part.strips if strip not in keys[1:])
    return Part(strips, part.gap, above)


def _with_narrow(strips: tuple[Strip, ...], column: Column) -> tuple[Strip, ...]:
    """Return the columns with one of them in its narrower form."""
    i = next(i for i, strip in enumerate(strips) if strip.column is column)
    own = strips[i]
    if column.narrow == "beneath":
        cells = tuple(tuple(part for line in lines for part in _beneath(line)) for lines in own.cells)
        return (*strips[:i], replace(own, cells=cells), *strips[i + 1 :])
    if i == 0 or strips[i - 1].column.lead != column.lead:
        return strips
    before = strips[i - 1]
    join = _after if column.narrow == "join" else _below
    cells = tuple(join(left, right) for left, right in zip(before.cells, own.cells, strict=True))
    header = tuple(line.plain for line in join([*map(Text, before.header)], [*map(Text, own.header)]))
    return (*strips[: i - 1], replace(before, header=header, cells=cells), *strips[i + 1 :])


def _beneath(line: Text) -> Iterator[Text]:
    """Yield what is before a parenthesis, with the mark after it, and the parenthesis."""
    found = re.fullmatch(r"(.*?\S) (\(.*\))(\S*)", line.plain)
    if found is None:
        yield line
        return
    before, between, after = (line[slice(*found.span(i))] for i in (1, 2, 3))
    yield before + after
    yield between


def _after(left: Sequence[Text], right: Sequence[Text]) -> tuple[Text, ...]:
    if not left or not right:
        return (*left, *right)
    return (*left[:-1], left[-1] + Text(" ") + right[0], *right[1:])


def _below(left: Sequence[Text], right: Sequence[Text]) -> tuple[Text, ...]:
    return (*left, *right)


def split(part: Part, width: int) -> list[Part]:
    """Return parts with all names and as many figures as fit."""
    names = sum(strip.width + part.gap for strip in part.strips if strip.column.name)
    if names > width // 2:
        part = with_names_above(part, width, max(width // 3, ROOM))
    names = sum(strip.width + part.gap for strip in part.strips if strip.column.name)
    figures = [strip for strip in part.strips if not strip.column.name]
    return [
        replace(part, strips=tuple(strip for strip in part.strips if strip.column.name or strip in group))
        for group in _filled(figures, width - names, part.gap)
    ]


def _filled(figures: Sequence[Strip], room: int, gap: int) -> list[list[Strip]]:
    """Deal columns to parts: each as many as fit, the most important in the first part; one of them always fits."""
    parts: list[list[Strip]] = [[]]
    left = room
    for strip in sorted(figures, key=lambda s: -s.column.importance):
        if parts[-1] and strip.width + gap > left:
            parts.append([])
            left = room
        parts[-1].append(strip)
        left -= strip.width + gap
    return parts


def _merged(keys: Sequence[Strip], room: int, above: dict[int, list[Text]]) -> Strip:
    """Return the columns of names as one; names longer than `room` are added to the lines `above`."""
    header = ", ".join(title for strip in keys if (title := flat(" ".join(strip.header))))
    cells: list[tuple[Text, ...]] = []
    for number in range(len(keys[0].cells)):
        parts = [Text(" ").join(strip.cells[number]) for strip in keys if strip.cells[number]]
        name = Text("  ").join(parts)
        if max(map(cell_len, name.plain.split()), default=0) <= room:
            cells.append(tuple(wrapped(name, room)) if name else ())
            continue
        above.setdefault(number, []).append(name)
        cells.append(())
    title = header if len(header) <= room else header.partition(", ")[0]
    return Strip(replace(keys[0].column, right=False), (title,), tuple(cells))
