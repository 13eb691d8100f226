"""A data source of image files with their labels, listed in some way, read on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stein_bench.data.imagefiles import FileStore, SizedImages, image_size
from stein_bench.data.imagesurvey import ImageFiles, ImageSurvey
from stein_bench.data.order import in_data_order
from stein_bench.data.paths import as_text, listed
from stein_bench.data.resize import Resize
from stein_bench.data.samples import Samples
from stein_bench.data.soundimages import OnDamage, SurveyedStore
from stein_bench.errors import UsageError


@dataclass(frozen=True, eq=False)
class ListedImages(SizedImages):
    """RGB images of files.

    Attributes:
        where: what a user calls them, for messages.
        root: the folder that paths are relative to.
        files: split → (path, label) of every file, sorted.
        missing_split: what to do if a split is missing, as the end of a message.
        remarks: how files and labels were found, for the report.
        on_damage: whether damaged files are left out or refused.
    """

    name: str
    where: str
    root: Path
    files: Mapping[str, Sequence[tuple[str, int]]]
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
        paths = self._paths(split)
        labels = np.array([label for _, label in self._ordered[split]], dtype=np.int64)
        files = FileStore(self.root, paths, size, resize)
        store = SurveyedStore(files, self._surveys[split], self.on_damage, None if resize else size)
        ids = tuple(map(as_text, paths))
        return Samples(self.name, split, self.classes, labels, ids, store, self.label_space, remarks=self.remarks)

    @cached_property
    def _ordered(self) -> dict[str, list[tuple[str, int]]]:
        return {split: in_data_order(files) for split, files in self.files.items()}

    def _paths(self, split: str) -> tuple[str, ...]:
        return tuple(path for path, _ in self._ordered[split])

    @cached_property
    def _surveys(self) -> dict[str, ImageSurvey]:
        """One for each split, kept: several trainings need not read its files anew."""
        return {split: ImageSurvey(ImageFiles(self.root, self._paths(split))) for split in self.files}

    @cached_property
    def _sizes(self) -> dict[tuple[int, int], str]:
        """(height, width) → a file of that size, from the headers; stops at the second size.

        Files without a readable header are passed over: the survey reports them. Raises UsageError if all are.
        """
        sizes: dict[tuple[int, int], str] = {}
        first: UsageError | None = None
        for path in (path for files in self._ordered.values() for path, _ in files):
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
