"""Samples of a map-style data set (``__len__`` and ``__getitem__``), which a user's code returned; read on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stein_bench.data.items import to_tensor
from stein_bench.data.layouts import sizes
from stein_bench.data.order import sorted_note
from stein_bench.data.resize import Resize, resize_image, resize_tensor
from stein_bench.data.userset import UserSet
from stein_bench.errors import UsageError

TWICE = 64
"""So many samples are read twice: a change with probability 0.1 then stays unnoticed once in 300,000 times."""

_SHIFT = 1e-5
"""Change of a sample's mean value that rounding in another process does not explain."""


@dataclass(frozen=True)
class _Record:
    """What is known of a sample that was read: the SHA-256 of its values, and their mean."""

    sha256: bytes
    mean: float


@dataclass(frozen=True, eq=False)
class MapStore:
    """A `Store` of the samples of a `UserSet`, of `native` shape (C, …) unless resized.

    `labels` are those that the samples must have.
    """

    source: UserSet
    labels: np.ndarray
    native: tuple[int, ...]
    resize: Resize | None
    in_memory: bool

    def __post_init__(self) -> None:
        if self.resize and len(self.native) != 3:
            raise UsageError("volumes are not resized: omit --image-size, or resize them in the data set")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.native[0], *self.resize.sides) if self.resize else self.native

    def load(self, indices: Sequence[int]) -> Tensor:
        with self.source.code.running(f"reading {self.source.code.spec}"):  # once, for it takes as long as a sample
            return torch.stack([self._sample(index) for index in indices]) if indices else torch.zeros((0, *self.shape))

    def survey(self, count: int) -> None:
        """Read samples that were not read yet; UsageError if one is wrong or changes from one reading to the next."""
        with self.source.code.running(f"reading {self.source.code.spec}"):
            for index in range(len(self._records), count):
                stored = self._stored(index)
                if index < TWICE and not _equal(stored, self._stored(index)):
                    raise self._changing(index)
                self._sized(index, stored)
                self._records.append(self._record(stored))

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        """Hash the values before they are resized: from files or from tensors, the same values have the same hash."""
        self.survey(count)
        digest.update(f"float32 {self.resize}\n".encode())
        for record in self._records[:count]:
            digest.update(record.sha256)

    def notes(self, count: int) -> tuple[str, ...]:
        """Return whether the order is by class; of a part of the samples, `Samples.first` says so."""
        return sorted_note(self.labels, count) if count >= len(self.labels) else ()

    @cached_property
    def _records(self) -> list[_Record]:
        return []

    def _sample(self, index: int) -> Tensor:
        stored = self._stored(index)
        known = self._records[index] if index < len(self._records) else None
        if known is not None and abs(float(to_tensor(stored).mean(dtype=torch.float64)) - known.mean) > _SHIFT:
            raise self._changing(index)
        return self._sized(index, stored)

    def _stored(self, index: int) -> Image.Image | Tensor:
        stored, label = self.source.read(index)
        if label != self.labels[index]:
            raise UsageError(
                f"{self.source.where(index)} has the label {label}, and had {self.labels[index]} when labels were "
                "listed; a data set must give the same samples at every reading"
            )
        return stored

    def _sized(self, index: int, stored: Image.Image | Tensor) -> Tensor:
        """Return a sample as the model receives it."""
        if self.resize and isinstance(stored, Image.Image):
            stored = resize_image(stored, self.resize)
        sample = to_tensor(stored)
        if self.resize and sample.ndim == 3:
            sample = resize_tensor(sample[None], self.resize)[0]  # no change if Pillow has resized it
        if tuple(sample.shape) != self.shape:
            advice = "give --image-size, or resize in the data set"
            if sample.shape[0] != self.shape[0]:
                advice = 'all need the same channels, e.g. by image.convert("RGB")'
            raise UsageError(
                f"{self.source.where(index)} is {sizes(sample.shape)}, and the first {sizes(self.shape)}; {advice}"
            )
        return sample

    def _record(self, stored: Image.Image | Tensor) -> _Record:
        values = to_tensor(stored)
        # Pillow and torch resize the same values a little differently.
        head = f"{'image' if self.resize and isinstance(stored, Image.Image) else 'values'} {tuple(values.shape)}\n"
        digest = hashlib.sha256(head.encode() + values.numpy().astype("<f4").tobytes()).digest()
        return _Record(digest, float(values.mean(dtype=torch.float64)))

    def _changing(self, index: int) -> UsageError:
        return UsageError(
            f"{self.source.where(index)} changes: samples change from one reading to the next; "
            "remove random augmentation"
        )


def _equal(first: Image.Image | Tensor, second: Image.Image | Tensor) -> bool:
    one, other = to_tensor(first), to_tensor(second)
    return one.shape == other.shape and torch.equal(one, other)
