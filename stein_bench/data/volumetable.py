"""The table of a NIfTI data set: a CSV file with the columns path, label, split and optionally site."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stein_bench.data.samples import MAX_CLASSES
from stein_bench.errors import UsageError, suggestion

COLUMNS = ("path", "label", "split")
SPLITS = ("train", "test")
SITE = "site"

_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class Row:
    """One volume: its file's `name` in the table, its path, label, split and site."""

    name: str
    path: Path
    label: int
    split: str
    site: str | None


def read_table(table: Path) -> list[Row]:
    """Return the rows of a CSV file in order; paths are relative to the file's folder.

    Further columns are ignored. Raises UsageError, naming the file and, for a wrong row, its line, for missing columns,
    labels that are not class indices, unknown splits, files that are missing or named twice, and an empty test split.
    """
    if not table.is_file():
        raise UsageError(f"{table}: {'is not a file' if table.exists() else 'no such file'}; write nifti:CSV")
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(_rows(table, stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: not a readable CSV file in UTF-8 ({error})") from error
    _check_rows(table, rows)
    return [row for _, row in rows]


def _rows(table: Path, stream: Iterator[str]) -> Iterator[tuple[int, Row]]:
    """Yield (line, row) for every row that is not blank."""
    reader = csv.reader(stream)
    header = [name.strip().lower() for name in next(reader, [])]
    _check_header(table, header)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise UsageError(
                f"{table}, line {reader.line_num}: has {len(cells)} cells, but the header has {len(header)} columns"
            )
        values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        yield reader.line_num, _row(table, reader.line_num, values)


def _check_header(table: Path, header: Sequence[str]) -> None:
    twice = next((name for name in (*COLUMNS, SITE) if header.count(name) > 1), None)
    if twice:
        raise UsageError(f"{table}: has the column {twice!r} twice")
    missing = next((name for name in COLUMNS if name not in header), None)
    if missing:
        near = suggestion(missing, [name for name in header if name not in COLUMNS], most=1).replace("?", " for it?")
        held = ", ".join(header)[:200] or "nothing"
        raise UsageError(f"{table}: lacks the column {missing!r}; it holds {held}.{near}")


def _row(table: Path, line: int, values: dict[str, str]) -> Row:
    where = f"{table}, line {line}"
    empty = next((name for name in (*COLUMNS, SITE) if values.get(name) == ""), None)
    if empty:
        raise UsageError(f"{where}: {empty} is empty")
    label, split = values["label"], values["split"].lower()
    if not _INTEGER.fullmatch(label):
        raise UsageError(f"{where}: label {label!r} is not a whole number; write class indices from 0")
    if not 0 <= int(label[:20]) < MAX_CLASSES:
        raise UsageError(f"{where}: label {label} is not a class index (0 to {MAX_CLASSES - 1})")
    if split not in SPLITS:
        raise UsageError(f"{where}: split {values['split']!r} is neither train nor test")
    path = table.parent / Path(values["path"]).expanduser()
    if not path.is_file():
        raise UsageError(f"{where}: no such file: {path}")
    return Row(values["path"], path, int(label), split, values.get(SITE))


def _check_rows(table: Path, rows: Sequence[tuple[int, Row]]) -> None:
    if not any(row.split == "test" for _, row in rows):
        raise UsageError(f"{table}: no row has the split test; there is nothing to evaluate")
    if all(row.label > 0 for _, row in rows):
        smallest = min(row.label for _, row in rows)
        raise UsageError(f"{table}: no row has the label 0, the smallest is {smallest}; number classes from 0")
    lines: dict[Path, tuple[int, Row]] = {}
    for line, row in rows:
        first, before = lines.setdefault(row.path.resolve(), (line, row))
        if first != line:
            why = "a model must not train on its test data" if row.split != before.split else "name each once"
            raise UsageError(f"{table}: lines {first} and {line} name the same file, {row.name}; {why}")
