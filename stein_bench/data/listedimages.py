"""A data source of image files with their labels, listed in some way, read on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stein_bench.data.imagefiles import FileStore, SizedImages, image_size
from stein_bench.data.imagesurvey import ImageFiles, ImageSurvey
from stein_bench.data.order import data_order
from stein_bench.data.paths import listed
from stein_bench.data.resize import Resize
from stein_bench.data.samples import Samples
from stein_bench.data.soundimages import OnDamage, SurveyedStore
from stein_bench.data.texts import Texts
from stein_bench.errors import UsageError

PROBED = 2000
"""Number of files of a split whose sizes are compared at the start; the headers of a million take minutes."""


@dataclass(frozen=True, eq=False)
class Files:
    """The files of a split, sorted: their paths, and their labels, int64 (n,)."""

    paths: Texts
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, files: Iterable[tuple[str, int]]) -> Files:
        """Return the given (path, label), sorted."""
        ordered = sorted(files)
        return cls(Texts.of(path for path, _ in ordered), np.array([label for _, label in ordered], np.int64))

    def in_data_order(self) -> Files:
        """Return them in the order in which they are used."""
        order = data_order(len(self.labels))
        return Files(self.paths.take(order), self.labels[order])


@dataclass(frozen=True, eq=False)
class ListedImages(SizedImages):
    """RGB images of files.

    Attributes:
        where: what a user calls them, for messages.
        root: the folder that paths are relative to.
        files: split → its files, sorted.
        missing_split: what to do if a split is missing, as the end of a message.
        remarks: how files and labels were found, for the report.
        on_damage: whether damaged files are left out or refused.
    """

    name: str
    where: str
    root: Path
    files: Mapping[str, Files]
    classes: tuple[str, ...]
    label_space: str | None
    missing_split: str
    remarks: tuple[str, ...] = ()
    on_damage: OnDamage = "skip"
    task: str = "classification"
    channels: int = 3

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.files)

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in an order permuted with a fixed seed, so that a limit does not select one class."""
        if split not in self.files:
            raise UsageError(f"{self.where}: has no split {split!r}; {self.missing_split}")
        size = self._size(resize, self.where)
        held = self._ordered(split)
        files = FileStore(self.root, held.paths, size, resize)
        store = SurveyedStore(files, self._survey(split), self.on_damage, None if resize else size)
        ids = held.paths.readable()
        return Samples(self.name, split, self.classes, held.labels, ids, store, self.label_space, remarks=self.remarks)

    def _ordered(self, split: str) -> Files:
        if split not in self._in_order:
            self._in_order[split] = self.files[split].in_data_order()
        return self._in_order[split]

    def _survey(self, split: str) -> ImageSurvey:
        """Return the survey of a split, always the same: several trainings need not read its files anew."""
        if split not in self._surveys:
            self._surveys[split] = ImageSurvey(ImageFiles(self.root, self._ordered(split).paths))
        return self._surveys[split]

    @cached_property
    def _in_order(self) -> dict[str, Files]:
        return {}

    @cached_property
    def _surveys(self) -> dict[str, ImageSurvey]:
        return {}

    @cached_property
    def _sizes(self) -> dict[tuple[int, int], str]:
        """(height, width) → a file of that size, from the headers of the first `PROBED` files of every split in data
        order, which is random; stops at the second size. The survey looks at the sizes of all that are used.

        Files without a readable header are passed over: the survey reports them. Raises UsageError if all are.
        """
        sizes: dict[tuple[int, int], str] = {}
        first: UsageError | None = None
        for path in (path for split in self.files for path in self._ordered(split).paths[:PROBED]):
            try:
                sizes.setdefault(image_size(self.root / path, self.root / path), path)
            except UsageError as error:
                first = first or error
            if len(sizes) > 1:
                break
        if not sizes and first is not None:
            raise first
        return sizes


def left_out_remark(suffixes: Mapping[str, int]) -> tuple[str, ...]:
    """Return a remark on files that look like images, given as suffix → number, but are not read."""
    if not suffixes:
        return ()
    number, kinds = sum(suffixes.values()), listed([f"{count} {suffix}" for suffix, count in suffixes.items()])
    are = "file is" if number == 1 else "files are"
    return (f"{number} {are} left out for the suffix ({kinds}), as in torchvision; a table, csv:FILE, may name any",)
