"""The table of a NIfTI data set: a CSV file with the columns path, label, split and optionally site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stein_bench.data.samples import MAX_CLASSES
from stein_bench.data.table import Columns, Line, check_distinct, read_lines
from stein_bench.data.volumeformats import check_format
from stein_bench.errors import UsageError

SITE = "site"
COLUMNS = Columns(("path", "label", "split"), (SITE,))
SPLITS = ("train", "test")

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
    rows = [(line.number, _row(line)) for line in read_lines(table, COLUMNS, "nifti:CSV")]
    _check_rows(table, rows)
    return [row for _, row in rows]


def _row(line: Line) -> Row:
    label, split = line.values["label"], line.values["split"].lower()
    check_format(line.table.parent / Path(line.values["path"]).expanduser())
    if not _INTEGER.fullmatch(label):
        raise UsageError(f"{line.where}: label {label!r} is not a whole number; write class indices from 0")
    if not 0 <= int(label[:20]) < MAX_CLASSES:
        raise UsageError(f"{line.where}: label {label} is not a class index (0 to {MAX_CLASSES - 1})")
    if split not in SPLITS:
        raise UsageError(f"{line.where}: split {line.values['split']!r} is neither train nor test")
    return Row(line.values["path"], line.file(), int(label), split, line.values.get(SITE))


def _check_rows(table: Path, rows: Sequence[tuple[int, Row]]) -> None:
    if not any(row.split == "test" for _, row in rows):
        raise UsageError(f"{table}: no row has the split test; there is nothing to evaluate")
    if all(row.label > 0 for _, row in rows):
        smallest = min(row.label for _, row in rows)
        raise UsageError(f"{table}: no row has the label 0, the smallest is {smallest}; number classes from 0")
    check_distinct(table, rows)
