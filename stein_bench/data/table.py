"""Tables that list a data set's files: CSV files in UTF-8 with a header and the columns path and label."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stein_bench.errors import UsageError, suggestion

DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Columns:
    """Columns of a kind of table: each row has a value in those that are `required` or, if present, `optional`."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A row of a table: its last line in the file, for messages, and its values by column."""

    table: Path
    number: int
    values: dict[str, str]

    @property
    def where(self) -> str:
        """The place, for messages."""
        return f"{self.table}, line {self.number}"

    def file(self) -> Path:
        """Return the existing file of the column path, relative to the table's folder; UsageError if it is missing."""
        name = self.values["path"]
        path = self.table.parent / Path(name).expanduser()
        if not path.is_file() and "\\" in name:  # written on Windows; no other file is meant
            path = self.table.parent / name.replace("\\", "/")
        if not path.is_file():
            raise UsageError(f"{self.where}: no such file: {path}")
        return path


class Listed(Protocol):
    """A file that a row names."""

    @property
    def name(self) -> str:
        """As in the table."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def split(self) -> str:
        """The split that it belongs to."""


def read_lines(table: Path, columns: Columns, usage: str) -> list[Line]:
    """Return the rows of a table that are not blank; further columns are ignored.

    Cells are separated by commas or, if the header says so, by semicolons or tabs. Raises UsageError, naming the file
    and, for a wrong row, its line, for a missing, doubled or empty column and for rows of another length; `usage` says
    what to write if there is no such file.
    """
    if not table.is_file():
        raise UsageError(f"{table}: {'is not a file' if table.exists() else 'no such file'}; write {usage}")
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = _delimiter(stream.readline(), columns)
            stream.seek(0)
            return list(_lines(table, stream, columns, delimiter))
    except PermissionError as error:
        raise UsageError(f"{table}: cannot be read ({error.strerror})") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: not a readable CSV file in UTF-8 ({error}); save it as CSV in UTF-8") from error


def check_distinct(table: Path, rows: Iterable[tuple[int, Listed]]) -> None:
    """Raise a `UsageError` if two rows, each given with its line, name the same file."""
    lines: dict[Path, tuple[int, Listed]] = {}
    for line, row in rows:
        first, before = lines.setdefault(row.path.resolve(), (line, row))
        if first != line:
            why = "a model must not train on its test data" if row.split != before.split else "name each once"
            raise UsageError(f"{table}: lines {first} and {line} name the same file, {row.name}; {why}")


def _delimiter(header: str, columns: Columns) -> str:
    """Return the character that separates the required columns in the `header`; a comma if none does."""
    for delimiter in DELIMITERS:
        if set(columns.required) <= {name.strip(' \r\n"').lower() for name in header.split(delimiter)}:
            return delimiter
    return ","


def _lines(table: Path, stream: Iterator[str], columns: Columns, delimiter: str) -> Iterator[Line]:
    reader = csv.reader(stream, delimiter=delimiter)
    header = [name.strip().lower() for name in next(reader, [])]
    _check_header(table, header, columns)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise UsageError(
                f"{table}, line {reader.line_num}: has {len(cells)} cells, but the header has {len(header)} columns"
            )
        line = Line(table, reader.line_num, {n: cell.strip() for n, cell in zip(header, cells, strict=True)})
        empty = next((n for n in (*columns.required, *columns.optional) if line.values.get(n) == ""), None)
        if empty:
            raise UsageError(f"{line.where}: {empty} is empty")
        yield line


def _check_header(table: Path, header: Sequence[str], columns: Columns) -> None:
    twice = next((name for name in (*columns.required, *columns.optional) if header.count(name) > 1), None)
    if twice:
        raise UsageError(f"{table}: has the column {twice!r} twice")
    missing = [name for name in columns.required if name not in header]
    if not missing:
        return
    held = ", ".join(header)[:200] or "nothing"
    if len(missing) == len(columns.required) and any(name and (table.parent / name).is_file() for name in header):
        raise UsageError(f"{table}: begins with {held}, not with column names; write {','.join(missing)} above it")
    near = suggestion(missing[0], [name for name in header if name not in columns.required], most=1)
    near = near.replace("?", " for it?")
    raise UsageError(f"{table}: lacks the column {missing[0]!r}; it holds {held}.{near}")
