"""The data source of stored arrays, whatever the files: splits of images and labels, checked to belong together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stein_bench.data.labelarrays import StoredLabels, common_labels
from stein_bench.data.layouts import (
    DOCUMENTED,
    check_layout,
    check_repeatable,
    decide_layout,
    parse_channels,
    parse_layout,
    shape_last,
    sizes,
    with_crosses,
)
from stein_bench.data.pixelvalues import check_type, parse_scale
from stein_bench.data.places import Place
from stein_bench.data.resize import Resize
from stein_bench.data.samples import Samples
from stein_bench.data.stores import Store
from stein_bench.data.texts import Numbered
from stein_bench.errors import UsageError

OPTIONS = ("layout", "scale", "channels")


@dataclass(frozen=True)
class Reading:
    """How the user says that arrays are to be read; None: as recognized, and with the stored channels."""

    layout: str | None = None
    scale: float | None = None
    channels: int | None = None


def parse_reading(given: Mapping[str, str], where: str) -> Reading:
    """Return the reading of the options ``layout=``, ``scale=`` and ``channels=``; UsageError for a wrong value."""
    return Reading(
        parse_layout(given["layout"], where) if "layout" in given else None,
        parse_scale(given["scale"], where) if "scale" in given else None,
        parse_channels(given["channels"], where) if "channels" in given else None,
    )


@dataclass(frozen=True, eq=False)
class StoredSplit(ABC):
    """One split: the header of its images, which are read on demand, and its labels."""

    place: Place
    stored_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: str
    reading: Reading
    labels: StoredLabels
    remarks: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images, channels last."""
        return shape_last(self.stored_shape, self.layout, self.reading.channels)

    def notes(self) -> list[str]:
        """Return what is to be said before the values are read."""
        notes = [*self.remarks, *self.labels.notes]
        if self.layout not in DOCUMENTED:
            notes.append(f"{self.place.short} is read as {with_crosses(self.layout)}: {sizes(self.stored_shape)}")
        if self.shape != shape_last(self.stored_shape, self.layout):
            notes.append(f"the channel of {self.place.short} is repeated to {self.reading.channels}")
        return notes

    @abstractmethod
    def store(self, resize: Resize | None) -> tuple[Store, list[str]]:
        """Return the images and notes on their values; UsageError if they are no images."""


def check_not_swapped(images: Sequence[int], labels: Sequence[int], where: str) -> None:
    """Raise a UsageError, naming `where`, if by their shapes the images are labels, and the labels images."""
    if _like_labels(images) and len(labels) >= 3 and labels[0] == images[0]:
        raise UsageError(f"{where} is {sizes(images)}, and the labels are {sizes(labels)}: exchange the two")


def _like_labels(shape: Sequence[int]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def checked_layout(shape: tuple[int, ...], dtype: np.dtype[Any], reading: Reading, place: Place) -> str:
    """Return the layout of an array of images: as said, or as recognized.

    Raises UsageError if its type, its layout or its number of channels is not one of images.
    """
    check_type(dtype, str(place))
    if reading.layout is None:
        layout = decide_layout(shape, str(place))
    else:
        layout = reading.layout
        check_layout(shape, layout, str(place))
    check_repeatable(shape_last(shape, layout), reading.channels, str(place))
    return layout


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Stored arrays; `held` is split → images, `labels` split → class indices. `stem` begins every sample's id."""

    name: str
    stem: str
    held: Mapping[str, StoredSplit]
    labels: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    no_split: str
    task: str = "classification"
    label_space: str | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.held)

    @property
    def uniform(self) -> bool:
        return len({split.shape[1:] for split in self.held.values()}) == 1

    @property
    def native_size(self) -> int | None:
        shape = self.held["test"].shape
        sides = set(shape[1:-1])
        return sides.pop() if self.uniform and len(shape) == 4 and len(sides) == 1 else None

    @property
    def channels(self) -> int:
        return self.held["test"].shape[-1]

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in the order of its file."""
        test = self.held["test"].place.path
        if split not in self.held:
            raise UsageError(f"{self.name.partition(':')[0]} data of {test} has no split {split!r}; {self.no_split}")
        if resize is None and not self.uniform:
            raise UsageError(f"the images of {test} and of its training file differ in size; give --image-size")
        labels = self.labels[split]
        ids = Numbered(f"{self.stem}/{split}", 0, len(labels))
        store, found = self.held[split].store(resize)
        remarks = (*self.held[split].notes(), *found, *self.notes)
        return Samples(self.name, split, self.classes, labels, ids, store, remarks=tuple(dict.fromkeys(remarks)))


def array_source(
    name: str, stem: str, held: Mapping[str, StoredSplit], given: Sequence[tuple[tuple[str, ...], Place]], no_split: str
) -> ArraySource:
    """Return the source of splits that belong together.

    Args:
        name, stem: as in `ArraySource`.
        held: split → images and labels, ``test`` and perhaps ``train``, in this or the other order.
        given: class names and where they are stored, for each file that has any.
        no_split: what to do for a split that is not held.

    Raises:
        UsageError: the splits differ in their number of axes or channels, in their class names or kind of labels, or a
            label is not among the classes.
    """
    _check_together(held)
    if len({names for names, _ in given}) > 1:
        places = " and ".join(str(place.path) for _, place in given)
        raise UsageError(f"{places}: `classes` differs; use the same names")
    classes, classes_of = (given[0][0], f"`{given[0][1].key}`") if given else (None, "the training labels")
    labels, names, notes = common_labels([split.labels for split in held.values()], classes, classes_of)
    return ArraySource(name, stem, held, dict(zip(held, labels, strict=True)), names, notes, no_split)


def _check_together(held: Mapping[str, StoredSplit]) -> None:
    if "train" not in held:
        return
    train, test = held["train"], held["test"]
    if (len(train.shape), train.shape[-1]) != (len(test.shape), test.shape[-1]):
        beside = test.place.path if test.place.path != train.place.path else f"`{test.place.key}`"
        raise UsageError(
            f"{train.place} is {sizes(train.shape)} and in {beside} {sizes(test.shape)}; "
            "training and test images need the same number of axes and channels"
        )
