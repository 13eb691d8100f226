"""The data source ``csv:FILE[,classes=FILE][,damaged=skip|refuse]``: image files listed in a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stein_bench.data.classlist import UnlistedError, labels_by_number, labels_from_list, read_class_lines
from stein_bench.data.classnames import Labels, labels_of_names
from stein_bench.data.imagefolder import OPTIONS, class_list
from stein_bench.data.listedimages import Files, ListedImages
from stein_bench.data.options import split_options
from stein_bench.data.paths import user_path
from stein_bench.data.samples import MAX_CLASSES
from stein_bench.data.soundimages import on_damage
from stein_bench.data.table import Columns, Line, check_distinct, read_lines
from stein_bench.errors import UsageError

COLUMNS = Columns(("path", "label"), ("split",))
SPLITS = {
    "train": "train", "training": "train",
    "test": "test", "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
"""Value of the column split → split. Rows of a validation split are evaluated if there are none of a test split."""

_INTEGER = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One image: its file's `name` in the table, its path, label, split and place in the table."""

    name: str
    path: Path
    label: str
    split: str
    line: Line


def open_image_table(text: str) -> ListedImages:
    """Return the source of ``FILE[,classes=FILE][,damaged=skip|refuse]``; UsageError for anything wrong."""
    path, given = split_options(text, OPTIONS, "csv")
    table = user_path(path)
    rows, remarks = _read(table)
    listed = class_list(given["classes"], table.parent) if "classes" in given else None
    labels = _labels(table, rows, listed)
    held = {row.split for row in rows}
    files: dict[str, Files] = {
        split: Files.of((row.name, labels.of[row.label]) for row in rows if row.split == split)
        for split in ("train", "test")
        if split in held
    }
    return ListedImages(
        f"csv:{table.name}", str(table), table.parent, files, labels.classes, labels.space,
        "mark rows with it in a column 'split'", (*labels.remarks, *remarks),
        on_damage(given, f"csv:{text}"),
    )  # fmt: skip


def _read(table: Path) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows of the splits train and test, and remarks."""
    rows = [_row(line) for line in read_lines(table, COLUMNS, "csv:FILE")]
    if not rows:
        raise UsageError(f"{table}: has no rows below the column names")
    check_distinct(table, ((row.line.number, row) for row in rows))
    found = {row.split for row in rows}
    if not found & {"test", "val"}:
        raise UsageError(f"{table}: no row has the split test or val; there is nothing to evaluate")
    if "test" not in found:
        return [replace(row, split="test") if row.split == "val" else row for row in rows], ()
    kept = [row for row in rows if row.split != "val"]
    unused = len(rows) - len(kept)
    return kept, (f"the {unused} rows of the validation split are not used",) if unused else ()


def _row(line: Line) -> Row:
    split = line.values.get("split", "test")
    if split.lower() not in SPLITS:
        raise UsageError(f"{line.where}: split {split!r} is none of train, val and test")
    path = line.file()
    name = path.relative_to(line.table.parent).as_posix() if path.is_relative_to(line.table.parent) else str(path)
    return Row(name, path, line.values["label"], SPLITS[split.lower()], line)


def _labels(table: Path, rows: Sequence[Row], class_list: Path | None) -> Labels:
    """Return the label of every value of the column label."""
    values = list(dict.fromkeys(row.label for row in rows))
    numbers = [value for value in values if _INTEGER.fullmatch(value)]
    if class_list is not None:
        return _listed_labels(class_list, values, all_numbers=len(numbers) == len(values))
    _check_kinds(rows, numbers)
    if not numbers:
        trained = [row.label for row in rows if row.split == "train"]
        return labels_of_names(table, values, trained or None, "label")
    labels = {value: int(value) for value in numbers}
    largest = max(labels.values())
    remarks: tuple[str, ...] = ()
    if set(labels.values()) == set(range(1, largest + 1)):
        remarks = (f"labels go from 1 to {largest}: if the model numbers its classes from 0, subtract 1 in the table",)
    return Labels(labels, tuple(map(str, range(largest + 1))), None, remarks)


def _check_kinds(rows: Sequence[Row], numbers: Sequence[str]) -> None:
    """Refuse labels that are neither class indices nor names, or of both kinds."""
    known = set(numbers)
    for row in rows:
        if row.label not in known and _NUMBER.fullmatch(row.label):
            raise UsageError(f"{row.line.where}: label {row.label} is not a class index; write whole numbers from 0")
        if row.label not in known and known:
            raise UsageError(
                f"{row.line.where}: label {row.label!r} is a name, others are numbers ({numbers[0]}); write one kind"
            )
        if row.label in known and int(row.label[:20]) >= MAX_CLASSES:
            raise UsageError(f"{row.line.where}: label {row.label} is not a class index (0 to {MAX_CLASSES - 1})")


def _listed_labels(class_list: Path, values: Sequence[str], *, all_numbers: bool) -> Labels:
    """Return labels by a class list: of names that it lists, or of numbers, which are positions in it."""
    count = len(read_class_lines(class_list))
    as_indices = all_numbers and all(int(value[:20]) < count for value in values)
    try:
        labels = labels_from_list(class_list, values, "label", given=True)
    except UnlistedError:
        if not as_indices:
            raise
        return labels_by_number(class_list, values)
    if as_indices and any(labels.of[value] != int(value) for value in values):
        raise UsageError(f"{class_list}: unclear, its classes are numbers that differ from their labels; rename them")
    return labels
