"""Tables of text for a terminal of any width: columns give way by their importance, names and numbers stay whole.

Where a table is too wide, one after the other until it fits: the gaps between columns get smaller; leading columns take
their narrower form, the least important first, and then become a line above their rows; names go on in the next line
between two words, or stand on a line above their figures; figures take their narrower form; and what does not fit then
goes on in a further part of the table. Only a name that is longer than a line makes a line too long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from rich.console import Console, ConsoleOptions
from rich.text import Text

from stein_bench.errors import visible
from stein_bench.render.columns import (
    Column,
    Part,
    Strip,
    flat,
    narrower,
    split,
    with_folded_names,
    with_names_above,
)
from stein_bench.render.console import wrapped

_FIGURE = re.compile(r"[−+]?\d+(?=\.)")


class TextTable:
    """A table of text that fits the width it is printed in; see the module.

    Args:
        columns: the columns.
        gap: spaces between them where there is room.
    """

    def __init__(self, columns: Sequence[Column], gap: int = 2) -> None:
        self._columns, self._gap = tuple(columns), gap
        self._rows: list[tuple[Text, ...]] = []
        self._rules: set[int] = set()

    def add(self, *cells: str | Text, style: str = "") -> None:
        """Add a row with a cell for each column."""
        texts = [cell.copy() if isinstance(cell, Text) else Text(visible(cell)) for cell in cells]
        for text in texts:
            if style:
                text.stylize(style)
        self._rows.append(tuple(texts))

    def rule(self) -> None:
        """Draw a line between the last row and the next one."""
        self._rules.add(len(self._rows))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for number, part in enumerate(self._fitted(options.max_width)):
            if number:
                yield Text()
            yield from self._drawn(part, options.max_width, "-" if options.ascii_only else "─")

    # --- Fitting

    def _fitted(self, width: int) -> list[Part]:
        """Return the table in the first of its forms that fits, or in parts."""
        fitting = next((form for form in self._forms(width) if form.width <= width), None)
        if fitting is not None:
            return [fitting]
        ways = [split(form, width) for form in self._narrow_forms()]
        return min(ways, key=lambda parts: (sum(part.width > width for part in parts), len(parts)))

    def _forms(self, width: int) -> Iterator[Part]:
        """Yield the table in one form after the other, each narrower or with longer rows."""
        whole = Part(tuple(map(self._strip, range(len(self._columns)))), self._gap, {})
        if self._has_single_rows():
            yield from (whole, replace(whole, gap=1))
        for gap in (self._gap, 1):
            yield from narrower(replace(whole, gap=gap), lambda column: column.lead or column.narrow != "beneath")
        narrow = [*self._narrow_forms()]
        yield replace(narrow[0], gap=self._gap)
        one_name = sum(strip.column.name for strip in narrow[0].strips) == 1
        for form in narrow:
            yield from (form, with_folded_names(form, width))
            if one_name:
                yield with_names_above(form, width)
        yield with_names_above(narrow[-1], width)

    def _has_single_rows(self) -> bool:
        """Return whether a second line of leading cells would make the table longer, for want of rows below theirs."""
        leads = [any(row[i] for i, column in enumerate(self._columns) if column.lead) for row in self._rows]
        return any(one and following for one, following in pairwise([*leads, True]))

    def _narrow_forms(self) -> Iterator[Part]:
        """Yield the table with its leading columns above their rows, each time with narrower figures."""
        leads = [i for i, column in enumerate(self._columns) if column.lead]
        rest = tuple(self._strip(i) for i, column in enumerate(self._columns) if not column.lead)
        yield from narrower(Part(rest, 1, self._above(leads)), lambda _: True)

    def _strip(self, i: int) -> Strip:
        column = self._columns[i]
        cells = [tuple(row[i].split("\n", allow_blank=True)) if row[i] else () for row in self._rows]
        if column.point:
            most = max((len(found[0]) for lines in cells for line in lines if (found := _figure(line))), default=0)
            for line in (line for lines in cells for line in lines):
                if found := _figure(line):
                    line.pad_left(most - len(found[0]))
        return Strip(column, tuple(column.header.split("\n")), tuple(cells))

    def _above(self, leads: Sequence[int]) -> dict[int, list[Text]]:
        """Return by row the line that stands for its leading cells, for rows that have some."""
        found: dict[int, list[Text]] = {}
        for number, row in enumerate(self._rows):
            named = [row[i] for i in leads if row[i] and self._columns[i].name]
            others = [(self._columns[i].header, row[i]) for i in leads if row[i] and not self._columns[i].name]
            if named or others:
                told = Text(", ").join(named)
                told.stylize("bold")
                for header, cell in others:
                    told.append(f"; {flat(header)} ")
                    told.append_text(Text("; ").join(cell.split("\n")))
                found[number] = [told]
        return found

    # --- Drawing

    def _drawn(self, part: Part, width: int, rule: str) -> Iterator[Text]:
        height = max(len(strip.header) for strip in part.strips)
        heads = [[*[""] * (height - len(strip.header)), *strip.header] for strip in part.strips]
        for i in range(height):
            yield _line(part, [Text(lines[i]) for lines in heads], style="bold")
        yield _whole(Text(rule * part.width))
        waiting: list[list[Text]] = [[] for _ in part.strips]
        for number in range(len(self._rows)):
            cells = [strip.cells[number] for strip in part.strips]
            if any(cell and lines for cell, lines in zip(cells, waiting, strict=True)) or number in self._rules:
                yield from _lines(part, waiting, all_of_them=True)
            if number in self._rules:
                yield _whole(Text(rule * part.width))
            above = part.above.get(number, ())
            if above and number and self._columns[0].lead and self._rows[number][0]:
                yield Text()
            yield from (_whole(line) for name in above for line in wrapped(name, width))
            for cell, lines in zip(cells, waiting, strict=True):
                lines.extend(cell)
            yield from _lines(part, waiting)
        yield from _lines(part, waiting, all_of_them=True)


def _lines(part: Part, waiting: Sequence[list[Text]], *, all_of_them: bool = False) -> Iterator[Text]:
    """Yield lines until only those of leading cells are left, which go on beside the rows below, or until none is."""
    while any(lines for lines, strip in zip(waiting, part.strips, strict=True) if all_of_them or not strip.column.lead):
        yield _line(part, [lines.pop(0) if lines else Text() for lines in waiting])


def _figure(line: Text) -> re.Match[str] | None:
    return _FIGURE.match(line.plain)


def _whole(text: Text) -> Text:
    """Return a line that is neither cut nor folded."""
    text.no_wrap, text.overflow = True, "ignore"
    return text


def _line(part: Part, cells: Sequence[Text], style: str = "") -> Text:
    """Return one line of a part, without spaces at its end."""
    line = Text()
    for strip, cell in zip(part.strips, cells, strict=True):
        missing, cell = strip.width - cell.cell_len, cell.copy()
        if strip.column.right:
            cell.pad_left(missing)
        line.append_text(cell)
        line.append(" " * (part.gap + (0 if strip.column.right else missing)))
    if style:
        line.stylize(style)
    line.rstrip()
    return _whole(line)
