"""What a user's code returned, as the data sets of its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, SequentialSampler, default_collate

from stein_bench.data.code import UserCode
from stein_bench.data.items import IMAGE_KEYS, LABEL_KEYS, as_stored, label_of, split_item
from stein_bench.data.listed import Pairs
from stein_bench.errors import UsageError

TEST_NAMES = ("test", "validation", "valid", "val")
"""Names of the evaluated split in a dictionary of splits; the first that is there is used."""


@dataclass(frozen=True, eq=False)
class UserSet:
    """A `dataset` that a user's `code` returned for a `split`.

    A copy sent to another process holds the data set, or, if that cannot be pickled (a lambda, an open file), calls the
    code again there.
    """

    code: UserCode
    split: str
    dataset: Any
    notes: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        # The code comes first: as it is unpickled it imports the user's file, which may define the data set's class.
        return _received, (self.code, self.split, self.dataset if self._can_be_sent else None)

    @cached_property
    def _can_be_sent(self) -> bool:
        try:
            ForkingPickler.dumps(self.dataset)
        except Exception:  # noqa: BLE001 - whatever the objects of a user raise
            return False
        return True

    def __len__(self) -> int:
        return len(self.dataset)

    def where(self, index: int) -> str:
        """Return how errors call a sample."""
        return f"sample {index} of {self.code.spec} ({self.split})"

    def read(self, index: int) -> tuple[Image.Image | Tensor, int]:
        """Return the stored image (see `as_stored`) and the label of a sample; UsageError for anything wrong."""
        where = self.where(index)
        with self.code.running(f"reading {where}"):
            item = self.dataset[index]
        image, label = split_item(item, where)
        return as_stored(image, where), label_of(label, where)


def sets_of(code: UserCode, split: str) -> dict[str, UserSet]:
    """Call the `code` for the `split` and return the data sets of that split or, if it returns both, of both.

    Raises UsageError if it fails, or if what it returns is no data.
    """
    returned = code.returned(split)
    if isinstance(returned, Mapping) and ("train" in returned or any(name in returned for name in TEST_NAMES)):
        return _by_split(code, returned)
    return {split: _as_set(code, split, returned)}


def _by_split(code: UserCode, returned: Mapping[Any, Any]) -> dict[str, UserSet]:
    name = next((name for name in TEST_NAMES if name in returned), None)
    if name is None:
        raise UsageError(f"{code.spec} returned the splits {', '.join(map(str, returned))}; 'test' is needed")
    sets = {"test": _as_set(code, "test", returned[name])}
    if name != "test":
        note = f"{code.short} returned no split 'test': {name!r} is evaluated"
        sets["test"] = UserSet(code, "test", sets["test"].dataset, (*sets["test"].notes, note))
    return sets | ({"train": _as_set(code, "train", returned["train"])} if "train" in returned else {})


def _as_set(code: UserCode, split: str, returned: Any) -> UserSet:
    dataset, notes = _as_dataset(code, returned)
    with code.running(f"reading the length of {code.spec} ({split})"):
        count = len(dataset)
    if count == 0:
        raise UsageError(f"{code.spec} returned no samples ({split})")
    return UserSet(code, split, dataset, notes)


def _as_dataset(code: UserCode, returned: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a map-style data set, and notes."""
    told = f"{code.spec} {code.verb}"
    if isinstance(returned, DataLoader):
        about = f"{code.short} {code.verb} a DataLoader"
        return _of_loader(code, returned), (
            f"{about}: its data set is read in its own order, and batches are stein-bench's",
        )
    if isinstance(returned, IterableDataset):
        raise UsageError(f"{told} an IterableDataset, which has no order to come back to; {code.give} list(dataset)")
    if isinstance(returned, Mapping):
        return _of_arrays(told, *(_only(returned, keys, told) for keys in (IMAGE_KEYS, LABEL_KEYS))), ()
    if isinstance(returned, tuple):
        if len(returned) == 2 and all(isinstance(part, np.ndarray | Tensor | list) for part in returned):
            return _of_arrays(told, *returned), ()
        if any(isinstance(part, Dataset | DataLoader) for part in returned):
            raise UsageError(
                f'{told} several data sets; {code.give} {{"train": …, "test": …}}, which says which is which'
            )
        raise UsageError(f"{told} a tuple of {len(returned)}; {code.give} (images, labels), a data set or a dictionary")
    if isinstance(returned, str | bytes) or not (hasattr(returned, "__getitem__") and hasattr(returned, "__len__")):
        raise UsageError(
            f"{told} a {type(returned).__name__}; {code.give} a map-style data set (torch.utils.data.Dataset with "
            '__len__ and __getitem__), (images, labels), or {"train": …, "test": …}'
        )
    return returned, ()


def _of_loader(code: UserCode, loader: DataLoader[Any]) -> Any:
    plain = isinstance(loader.sampler, SequentialSampler) and loader.collate_fn is default_collate
    if isinstance(loader.dataset, IterableDataset) or not plain:
        raise UsageError(
            f"{code.spec} {code.verb} a DataLoader that shuffles, selects or changes samples; {code.give} its data set"
        )
    return loader.dataset


def _only(returned: Mapping[Any, Any], keys: tuple[str, ...], told: str) -> Any:
    found = [key for key in keys if key in returned]
    if len(found) != 1:
        held = ", ".join(map(str, returned)) or "nothing"
        raise UsageError(f'{told} a dictionary with {held}; "images" and "labels" are needed, or "train" and "test"')
    return returned[found[0]]


def _of_arrays(told: str, images: Any, labels: Any) -> Pairs:
    if len(images) != len(labels):
        raise UsageError(f"{told} {len(images)} images and {len(labels)} labels; give one label per image")
    return Pairs(images, labels)


def _received(code: UserCode, split: str, dataset: Any) -> UserSet:
    return sets_of(code, split)[split] if dataset is None else UserSet(code, split, dataset)
