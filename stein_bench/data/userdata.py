"""The data source ``FILE.py:CALLABLE``: what a user's own code returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.utils.data import Subset, TensorDataset

from stein_bench.data.code import UserCode, find_brought_data, find_code
from stein_bench.data.items import label_of, split_item, to_tensor
from stein_bench.data.layouts import sizes
from stein_bench.data.listed import Pairs, class_names, listed_labels
from stein_bench.data.mapstyle import MapStore
from stein_bench.data.resize import Resize
from stein_bench.data.samples import Samples
from stein_bench.data.texts import Numbered
from stein_bench.data.userset import UserSet, sets_of
from stein_bench.errors import UsageError

MOST_PROBED = 100
"""Of so many classes a sample is read to compare its label with the listed one."""


@dataclass(frozen=True, eq=False)
class UserData:
    """Samples of a user's data sets, in their order. `returned` has the split ``test``, and perhaps ``train``.

    Class names are those that the data set lists as ``classes``, otherwise ``"0"`` to the largest label.
    """

    code: UserCode
    returned: Mapping[str, UserSet]
    task: str = "classification"
    label_space: str | None = None

    @property
    def name(self) -> str:
        return self.code.short

    @property
    def splits(self) -> tuple[str, ...]:
        both = "train" in self.returned or self.code.split_argument is not None
        return ("train", "test") if both else ("test",)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        largest = max(int(labels.max()) for labels in self._known_labels())
        names = next((found for one in self.returned.values() if (found := class_names(one.dataset))), None)
        if names is None:
            return tuple(map(str, range(largest + 1)))
        if largest >= len(names):
            raise UsageError(f"{self.code.spec} has the label {largest}, but its `classes` are only {len(names)} names")
        return names

    @property
    def uniform(self) -> bool:
        """Whether a first, middle and last sample have the same shape; others are checked as they are read."""
        return len(set(self._probed)) == 1

    @property
    def native_size(self) -> int | None:
        sides = set(self._probed[0][1:])
        return sides.pop() if self.uniform and len(self._probed[0]) == 3 and len(sides) == 1 else None

    @property
    def channels(self) -> int:
        return self._probed[0][0]

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in the order of the data set."""
        if split not in self.splits:
            raise UsageError(
                f"{self.code.spec} has no split {split!r}; give it an argument `split`, or return "
                '{"train": …, "test": …}'
            )
        shapes = sorted(set(self._probed))
        if resize is None and len(shapes) > 1:
            raise UsageError(
                f"{self.code.spec}: samples differ in size ({' and '.join(map(sizes, shapes))}); give --image-size, or "
                "resize in the data set"
            )
        data, (labels, note) = self._set(split), self._labels(split)
        store = MapStore(data, labels, self._probed[0], resize, _in_memory(data.dataset))
        ids = Numbered(f"{self.code.in_ids}/{split}", 0, len(data))
        remarks = (*data.notes, *self._given_split(), *note)
        return Samples(self.name, split, self.classes, labels, ids, store, self.label_space, self.task, remarks=remarks)

    def _set(self, split: str) -> UserSet:
        if split not in self._sets:
            self._sets.update(sets_of(self.code, split))
        return self._sets[split]

    @cached_property
    def _sets(self) -> dict[str, UserSet]:
        return dict(self.returned)

    @cached_property
    def _probed(self) -> list[tuple[int, ...]]:
        """The shapes of a first, middle and last sample of the test split."""
        test = self.returned["test"]
        return [tuple(to_tensor(test.read(index)[0]).shape) for index in _spread(len(test))]

    def _known_labels(self) -> list[np.ndarray]:
        """Return the labels of the test split, and of a training split that is there and lists them."""
        train = self.returned.get("train")
        listed = listed_labels(train.dataset) if train is not None else None
        return [self._labels("test")[0], *([] if listed is None else [listed])]

    def _labels(self, split: str) -> tuple[np.ndarray, tuple[str, ...]]:
        if split not in self._labels_read:
            self._labels_read[split] = _labels(self._set(split))
        return self._labels_read[split]

    @cached_property
    def _labels_read(self) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
        return {}

    def _given_split(self) -> tuple[str, ...]:
        given = [f"{key}={value}" for key, value in self.code.arguments.items() if key in ("split", "train")]
        return (f"the evaluated split is the one given as {given[0]}",) if given else ()


def open_user_data(spec: str) -> UserData | None:
    """Return the source that a user's code or an installed package gives, or None if `spec` names neither.

    Calls it. Raises UsageError for anything wrong with it, or with what it returns.
    """
    code = find_code(spec) or find_brought_data(spec)
    return None if code is None else UserData(code, sets_of(code, "test"))


def _labels(data: UserSet) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels, from a list of them if the data set has one that its samples agree with, and a note."""
    listed = listed_labels(data.dataset)
    for extreme in () if listed is None else (listed.min(), listed.max()):
        label_of(extreme, f"{data.code.spec} ({data.split})")
    if listed is not None and all(_label(data, index) == listed[index] for index in _probes(listed)):
        return listed, ()
    with data.code.running(f"reading {data.code.spec}"):  # once, for it takes longer than a label
        read = np.array([_label(data, index) for index in range(len(data))], dtype=np.int64)
    return read, ("labels were found by reading every sample; a list of them as `targets` would spare that",)


def _label(data: UserSet, index: int) -> int:
    where = data.where(index)
    with data.code.running(f"reading {where}"):
        item: Any = data.dataset[index]
    return label_of(split_item(item, where)[1], where)


def _probes(listed: np.ndarray) -> list[int]:
    """Return samples that show whether labels are as listed; one of each class, since a transform may change a few."""
    firsts = np.unique(listed, return_index=True)[1][:MOST_PROBED]
    return sorted({*_spread(len(listed)), *firsts.tolist()})


def _spread(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1})


def _in_memory(dataset: Any) -> bool:
    return (
        _in_memory(dataset.dataset)
        if isinstance(dataset, Subset)
        else isinstance(dataset, Pairs | TensorDataset | list)
    )
