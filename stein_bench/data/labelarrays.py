"""Stored labels in the forms people have: class indices, a column of them, one-hot rows, names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stein_bench.data.layouts import sizes
from stein_bench.data.places import Place
from stein_bench.data.samples import MAX_CLASSES
from stein_bench.errors import UsageError

_DECIMAL = re.compile(r"-?\d+(\.\d*)?", re.ASCII)


@dataclass(frozen=True, eq=False)
class StoredLabels:
    """One label per sample: class indices, int64 (n,), or names, a tuple of n; and what is to be said of them.

    `classes` is the number of classes if the labels tell it: the columns of one-hot rows.
    """

    values: np.ndarray | tuple[str, ...]
    place: Place
    notes: tuple[str, ...] = ()
    classes: int | None = None

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names, if the labels are names."""
        return self.values if isinstance(self.values, tuple) else None


def check_label_type(dtype: np.dtype[Any], where: str) -> None:
    """Raise a UsageError, naming `where`, unless labels of that type can be read."""
    if dtype.hasobject:
        raise UsageError(f"{where} is object; store class indices as whole numbers, or names with .astype(str)")
    if dtype.kind not in "biufUS":
        raise UsageError(f"{where} is {dtype}; store class indices as whole numbers")


def read_labels(array: np.ndarray, count: int, place: Place) -> StoredLabels:
    """Return the labels of `count` samples from class indices or names (n,) or (n, 1), or one-hot rows (n, k).

    Raises UsageError, naming the `place`, for any other array and for class indices below 0 or from `MAX_CLASSES` on.
    """
    where = str(place)
    check_label_type(array.dtype, where)
    if array.ndim == 2 and array.shape[0] == count and array.shape[1] > 1 and array.dtype.kind in "biuf":
        note = f"{place.short} is one-hot: {sizes(array.shape)}"
        return StoredLabels(_from_one_hot(array, where), place, (note,), array.shape[1])
    if array.shape not in ((count,), (count, 1)):
        raise UsageError(f"{where} is {sizes(array.shape)}, but there are {count} images; give one label per image")
    flat = array.reshape(count)
    if array.dtype.kind in "US":
        return StoredLabels(_texts(flat, where), place)
    return StoredLabels(_checked(_whole(flat, where), where), place)


def _from_one_hot(array: np.ndarray, where: str) -> np.ndarray:
    """Return the positions of the ones; UsageError unless every row is zeros and exactly one 1."""
    ones = (array == 1).sum(axis=1)
    if not ((array == 0) | (array == 1)).all():
        raise UsageError(f"{where} is {sizes(array.shape)} and not one-hot (soft labels?); give one class per image")
    if (ones != 1).any():
        row = int(np.flatnonzero(ones != 1)[0])
        raise UsageError(
            f"{where} is {sizes(array.shape)} with {int(ones[row])} ones in row {row}: several labels per image "
            "(multi-label) are not evaluated; give one class per image"
        )
    return _checked(array.argmax(axis=1), where)


def _whole(flat: np.ndarray, where: str) -> np.ndarray:
    if flat.dtype.kind != "f":
        return flat
    broken = flat[~(np.isfinite(flat) & (flat == np.floor(flat)))]
    if broken.size:
        raise UsageError(f"{where} is {flat.dtype}; store class indices as whole numbers, not {float(broken[0]):g}")
    return flat


def _checked(labels: np.ndarray, where: str) -> np.ndarray:
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise UsageError(f"{where} has the value {low}; class indices start at 0")
    if high >= MAX_CLASSES:
        raise UsageError(f"{where} has the value {high}; class indices below {MAX_CLASSES} are needed")
    return labels.astype(np.int64)


def _texts(flat: np.ndarray, where: str) -> tuple[str, ...]:
    try:
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in flat.tolist())
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is {flat.dtype}, bytes that are not UTF-8; store names with .astype(str)") from error


def common_labels(
    splits: Sequence[StoredLabels], classes: tuple[str, ...] | None, classes_of: str
) -> tuple[tuple[np.ndarray, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the class indices of each of the `splits`, the class names, and notes.

    Args:
        splits: of one data set; if one has names, all must.
        classes: the class names in label order, if given. Without them, names are numbered in sorted order, and class
            indices name themselves, up to the largest or to the last column of one-hot rows.
        classes_of: what gives `classes`, for errors.

    Raises:
        UsageError: labels are not among the classes, one-hot rows are of another number of classes, or names and
            numbers are mixed.
    """
    told: tuple[str, ...] = ()
    if classes is None:
        splits, told = _numbers_as_text(splits)
    _check_columns(splits, classes, classes_of)
    if any(split.names for split in splits):
        return _numbered(splits, classes, classes_of)
    indices = tuple(np.asarray(split.values) for split in splits)
    if classes is None:
        counts = [split.classes or int(labels.max()) + 1 for split, labels in zip(splits, indices, strict=True)]
        names = tuple(str(label) for label in range(max(counts)))
    else:
        names = classes
        for split, labels in zip(splits, indices, strict=True):
            if labels.max() >= len(names):
                raise UsageError(
                    f"{split.place} has the value {labels.max()}, but {classes_of} names {len(names)}; "
                    f"labels go from 0 to {len(names) - 1}"
                )
    lowest = min(int(labels.min()) for labels in indices)
    odd = (
        f"no label of {splits[0].place.short} is 0: the smallest is {lowest}, and class indices are taken to start at 0"
    )
    return indices, names, (*told, odd) if lowest > 0 else told


def _numbers_as_text(splits: Sequence[StoredLabels]) -> tuple[list[StoredLabels], tuple[str, ...]]:
    """Return the splits with names that are all whole numbers as class indices, and a note if there are any.

    Sorted as names, 10 would come before 2. Raises UsageError for names that are numbers with a decimal point.
    """
    read, told = [], []
    for split in splits:
        names = split.names or ("",)
        if all(name.isascii() and name.isdecimal() for name in names):
            numbers = np.array([int(name[:18]) for name in names], dtype=np.int64)
            told.append(f"{split.place.short} holds numbers as text, taken as class indices")
            split = replace(split, values=_checked(numbers, str(split.place)))
        elif all(_DECIMAL.fullmatch(name) for name in names):
            raise UsageError(
                f"{split.place} holds numbers as text ({names[0]!r}); store class indices as whole numbers"
            )
        read.append(split)
    return read, tuple(told[:1])


def _check_columns(splits: Sequence[StoredLabels], classes: tuple[str, ...] | None, classes_of: str) -> None:
    """Refuse one-hot rows that have not a column for every class: their positions would mean something else."""
    told = [(split.classes, str(split.place)) for split in splits if split.classes is not None]
    known = [*told, *([(len(classes), classes_of)] if classes is not None else [])]
    other = next(((count, where) for count, where in known if count != known[0][0]), None)
    if told and other is not None:
        raise UsageError(
            f"{known[0][1]} is one-hot with {known[0][0]} columns, but {other[1]} has {other[0]}; use the same classes"
        )


def _numbered(
    splits: Sequence[StoredLabels], classes: tuple[str, ...] | None, classes_of: str
) -> tuple[tuple[np.ndarray, ...], tuple[str, ...], tuple[str, ...]]:
    listed = [split.names for split in splits]
    given = [names for names in listed if names is not None]
    if len(given) < len(listed):
        raise UsageError(
            f"{' and '.join(str(split.place) for split in splits)}: one has names, the other numbers; use one"
        )
    known = classes or tuple(sorted({name for names in given for name in names}))
    number = {name: index for index, name in enumerate(known)}
    for split, names in zip(splits, given, strict=True):
        if strange := next((name for name in names if name not in number), None):
            raise UsageError(f"{split.place} has the name {strange!r}, which is not in {classes_of}; add or correct it")
    indices = tuple(np.array([number[name] for name in names], dtype=np.int64) for names in given)
    shown = ", ".join(known[:3]) + (", …" if len(known) > 3 else "")
    order = "in sorted order" if classes is None else f"in the order of {classes_of}"
    return indices, known, (f"{splits[0].place.short} has names, which were numbered {order} ({shown})",)
