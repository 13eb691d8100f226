"""What a map-style data set lists besides its samples, as torchvision's do: labels and class names."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset


class Pairs(Dataset[Any]):
    """Images and labels that are given as two arrays, as a data set."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


def listed_labels(dataset: Any) -> np.ndarray | None:
    """Return the labels that a data set lists as ``targets`` or ``labels``, int64 (n,), or None if it lists none.

    They may differ from those of its samples: a ``target_transform`` changes only the latter.
    """
    if isinstance(dataset, Subset):
        inner = listed_labels(dataset.dataset)
        return None if inner is None else inner[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [listed_labels(part) for part in dataset.datasets]
        found = [part for part in parts if part is not None]
        return np.concatenate(found) if found and len(found) == len(parts) else None
    if isinstance(dataset, TensorDataset):
        return _as_labels(dataset.tensors[-1], len(dataset))
    listed = (_as_labels(getattr(dataset, name, None), len(dataset)) for name in ("targets", "labels"))
    return next((labels for labels in listed if labels is not None), None)


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """Return the names that a data set lists as ``classes``, or None."""
    if isinstance(dataset, Subset):
        return class_names(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        found = {class_names(part) for part in dataset.datasets}
        return found.pop() if len(found) == 1 else None
    names = getattr(dataset, "classes", None)
    if not isinstance(names, list | tuple | np.ndarray) or not len(names):
        return None
    # torchvision's ImageNet has several words for a class
    return tuple(", ".join(map(str, name)) if isinstance(name, list | tuple) else str(name) for name in names)


def _as_labels(values: Any, count: int) -> np.ndarray | None:
    if not isinstance(values, list | tuple | np.ndarray | Tensor) or len(values) != count or not count:
        return None
    try:
        labels = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # ragged, or on a device
        return None
    return labels.reshape(-1).astype(np.int64) if labels.dtype.kind in "iu" and labels.size == count else None
