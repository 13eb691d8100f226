"""What stores the samples of a split, and what some kinds of storage do besides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


class Store(Protocol):
    """Storage of a split's samples, in data order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one loaded sample, channels first."""

    @property
    def in_memory(self) -> bool:
        """Whether loading reads no files."""

    def load(self, indices: Sequence[int]) -> Tensor:
        """Return samples, contiguous float32 (b, *shape) in [0, 1]; UsageError if one is unreadable."""

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        """Feed the format and the stored bytes of the first `count` samples into `digest`."""


class LabelMaps(Protocol):
    """Storage of the label maps of a dense task, in data order."""

    def load(self, indices: Sequence[int]) -> Tensor:
        """Return contiguous int64 (b, H, W), of the size of the loaded images; UsageError if one is unreadable."""

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        """Feed the format and the stored bytes of the first `count` label maps into `digest`."""

    def only(self, indices: Sequence[int]) -> LabelMaps:
        """Return the label maps at `indices`."""


@dataclass(frozen=True)
class ScalingRecord:
    """How stored values became values in [0, 1].

    `method` is ``none``, ``range`` (from `low` to `high`) or ``minmax`` (each sample by its own minimum and maximum).
    `clipped_values` values in `clipped_samples` samples were outside and were clipped to 0 or 1.
    """

    method: str
    low: float | None
    high: float | None
    clipped_values: int
    clipped_samples: int


@runtime_checkable
class RecordsScaling(Protocol):
    """A store whose values had to be scaled to [0, 1]."""

    def scaling_record(self, count: int) -> ScalingRecord:
        """Return how the first `count` samples were scaled; UsageError if one is unreadable."""


@runtime_checkable
class ReadsUnchecked(Protocol):
    """A store of values that somebody else's code provides, which have to be read to be checked."""

    def survey(self, count: int) -> None:
        """Read those of the first `count` samples that were not read yet; UsageError for the first that is wrong."""


@runtime_checkable
class ChecksImages(Protocol):
    """A store of images that may be damaged, which is found out before they are used."""

    def surveyed(self, count: int) -> Iterator[int]:
        """Read the first `count` images, and yield the number read so far; UsageError if one is of no use."""

    def sound(self, count: int) -> tuple[list[int], tuple[str, ...]]:
        """Return the undamaged ones of the first `count` indices, and remarks; UsageError to refuse damaged ones."""

    def kept(self, indices: Sequence[int] | None) -> Store:
        """Return a store of the samples at `indices`, None for all, which is not surveyed again."""


@runtime_checkable
class Shortens(Protocol):
    """A store that is large by what it knows of its samples, even if they are not loaded."""

    def first(self, count: int) -> Store:
        """Return a store of the first `count` samples, or itself."""


@runtime_checkable
class TakesNotes(Protocol):
    """A store that finds out while reading what a user should know, such as files that are damaged."""

    def notes(self, count: int) -> tuple[str, ...]:
        """Return what is known by now about the first `count` samples, one sentence each, without a final stop."""
