"""Ordered, labeled samples of one split, and their batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stein_bench.data.ahead import Batch, load_ahead, to_device, usable_workers
from stein_bench.data.order import sorted_note
from stein_bench.data.resize import Resize
from stein_bench.data.stores import (
    ChecksImages,
    LabelMaps,
    ReadsUnchecked,
    RecordsScaling,
    ScalingRecord,
    Shortens,
    Store,
    TakesNotes,
)
from stein_bench.data.texts import Texts
from stein_bench.errors import UsageError

__all__ = ["Batch", "LabelMaps", "Resize", "Samples", "Store", "Workers", "batches", "read_chunks", "to_device"]

Workers = int | Literal["auto"]
"""How many processes read samples ahead; see `read_chunks`."""

FEW_FILES = 64
"""Below this number, starting processes takes longer than reading."""

MAX_CLASSES = 100_000
"""Labels from this value on are treated as a mistake (years, ids), not as class indices."""

IMAGENET = "imagenet-1k"
CLASS_INDICES = "class-indices"
OWN = "own"
"""Label spaces; labels can only be predicted by weights for the same space (class indices by any weights)."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Ordered labeled images or volumes: one split of a data set.

    `labels` is int64 (n,), indexing `classes`; `ids` are n stable, unique names. `label_space` is what labels
    index: `IMAGENET` classes, a model's `CLASS_INDICES`, the data set's `OWN` classes, or None if unknown. The
    `store` may contain more than n samples; the first n are used. For a dense task every sample has a label map, read
    from `maps` batch by batch like the images, and `labels` is empty. `sites` are the n names of the samples' sites, if
    known. If every base image comes in several versions, `cells` are the names of the versions: sample i is base image
    ``i // len(cells)`` in cell ``i % len(cells)``, so that a limit keeps all cells; `grouped_by` says what the two
    parts of a cell's name are (``fog/3``: corruption, severity). `remarks` say how the files were read where that was a
    choice, one sentence each, without a final stop.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    labels: np.ndarray
    ids: Sequence[str]
    store: Store
    label_space: str | None = None
    task: str = "classification"
    maps: LabelMaps | None = None
    sites: tuple[str, ...] | None = None
    cells: tuple[str, ...] | None = None
    grouped_by: tuple[str, str] = ("corruption", "severity")
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.int64)
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) or (C, D, H, W)."""
        return self.store.shape

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def cluster(self) -> int:
        """The number of consecutive samples that are versions of one base image, and so not independent."""
        return len(self.cells or ("",))

    def unrelated(self, count: int) -> list[int]:
        """Return the indices of the first `count` samples of different base images, in one cell after another."""
        bases = range(0, len(self), self.cluster)[:count]
        shifted = (first + number % self.cluster for number, first in enumerate(bases))
        return [index if index < len(self) else first for index, first in zip(shifted, bases, strict=True)]

    @property
    def largest_label(self) -> int:
        """The largest label that occurs; for a dense task, whose maps are not read for it, the largest possible."""
        return len(self.classes) - 1 if self.maps is not None else int(self.labels.max())

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images, contiguous float32 (b, *shape) in [0, 1], and labels, int64 (b,) or (b, H, W), of `indices`.

        A sample does not depend on the others of the batch. Raises UsageError if a stored sample cannot be
        read, IndexError for an index outside 0 … n-1.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise IndexError(f"sample index outside 0 … {len(self) - 1}")
        labels = torch.from_numpy(self.labels[chosen]) if self.maps is None else self.maps.load(chosen.tolist())
        return self.store.load(chosen.tolist()), labels

    def first(self, limit: int | None) -> Samples:
        """Return the first `limit` samples in data order; all of them for None or a larger `limit`.

        If the order is by class, so that the first samples are of a few classes only, a remark says so.
        """
        if limit is None or limit >= len(self):
            return self
        if limit < 1:
            raise UsageError(f"the limit on samples must be at least 1, not {limit}")
        return replace(
            self, labels=self.labels[:limit], ids=self.ids[:limit], sites=self.sites and self.sites[:limit],
            store=self.store.first(limit) if isinstance(self.store, Shortens) else self.store,
            remarks=(*self.remarks, *sorted_note(self.labels, limit)),
        )  # fmt: skip

    @property
    def needs_survey(self) -> bool:
        """Whether all samples have to be read before their use: to check values, or to find damaged images."""
        return isinstance(self.store, RecordsScaling | ReadsUnchecked | ChecksImages)

    def surveyed(self) -> Iterator[int]:
        """Read every sample once if the data need it, and yield the number read so far.

        Raises UsageError for the first that is out of range or unreadable, unless `sound` leaves it out.
        """
        if isinstance(self.store, ChecksImages):
            yield from self.store.surveyed(len(self))
            return
        for count in range(1, len(self) + 1) if self.needs_survey else ():
            if isinstance(self.store, RecordsScaling):
                self.store.scaling_record(count)
            elif isinstance(self.store, ReadsUnchecked):
                self.store.survey(count)
            yield count

    def sound(self) -> Samples:
        """Return the samples without those that are damaged, with remarks on that; they are read if need be.

        If base images have several versions, all of them are left out. Raises UsageError if damaged images are to be
        refused, or if it is most of them or of the base images.
        """
        if not isinstance(self.store, ChecksImages):
            return self
        kept, remarks = self.store.sound(len(self))
        if self.cells is not None and len(kept) < len(self):
            kept, partly = self._whole_bases(kept)
            remarks = (*remarks, partly)
        if len(kept) == len(self):
            return replace(self, store=self.store.kept(None), remarks=(*self.remarks, *remarks))
        return replace(
            self, store=self.store.kept(kept), ids=Texts.of(self.ids[index] for index in kept),
            labels=self.labels[kept] if self.maps is None else self.labels, maps=self.maps and self.maps.only(kept),
            sites=self.sites and tuple(self.sites[index] for index in kept), remarks=(*self.remarks, *remarks),
        )  # fmt: skip

    def _whole_bases(self, kept: Sequence[int]) -> tuple[list[int], str]:
        """Return the indices without base images of which a version is missing, and a remark on that."""
        missing = np.setdiff1d(np.arange(len(self)), kept)
        broken = set((missing // self.cluster).tolist())
        plural = "base image is" if len(broken) == 1 else "base images are"
        why = f"{plural} left out of every {' and '.join(self.grouped_by)}, since a file is damaged"
        bases = -(-len(self) // self.cluster)
        if 2 * len(broken) > bases:
            example = self.ids[int(missing[0])]
            raise UsageError(f"{self.name}: {len(broken)} of {bases} {why} ({example}); repair or remove these images")
        return [index for index in kept if index // self.cluster not in broken], f"{len(broken)} {why}"

    def scaling(self) -> ScalingRecord | None:
        """Return how stored values became values in [0, 1]; None for 8-bit values, which have one fixed scale."""
        return self.store.scaling_record(len(self)) if isinstance(self.store, RecordsScaling) else None

    def notes(self) -> tuple[str, ...]:
        """Return the remarks, and what the store has found out while reading."""
        told = self.store.notes(len(self)) if isinstance(self.store, TakesNotes) else ()
        return tuple(dict.fromkeys((*self.remarks, *self._about_cells(), *told)))

    def _about_cells(self) -> Iterator[str]:
        if self.cluster > 1:
            whole, more = divmod(len(self), self.cluster)
            partly = f", and one more in the first {f'{more} cells' if more > 1 else 'cell'} only" if more else ""
            yield (
                f"every base image is {self.cluster} samples, one after another, one for each {self.grouped_by[0]} and "
                f"{self.grouped_by[1]}: {whole} base {'image' if whole == 1 else 'images'} in all of them{partly}"
            )

    def sha256(self) -> str:
        """Return the SHA-256 (hex) over stored samples, labels and resize, in data order. Computed once."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        self.store.update_hash(digest, len(self))
        digest.update(self.labels.astype("<i8").tobytes())
        if self.maps is not None:
            self.maps.update_hash(digest, len(self))
        return digest.hexdigest()


def batches(samples: Samples, batch_size: int, *, workers: Workers = 0) -> Iterator[Batch]:
    """Yield (indices, images, labels) of all `samples` in data order, `batch_size` at a time; see `read_chunks`.

    Raises UsageError for a batch size below 1 or negative `workers`, and if a sample cannot be read.
    """
    if batch_size < 1:
        raise UsageError(f"batch size must be at least 1, not {batch_size}")
    chunks = [np.arange(start, min(start + batch_size, len(samples))) for start in range(0, len(samples), batch_size)]
    return read_chunks(samples, chunks, workers=workers)


def read_chunks(samples: Samples, chunks: Sequence[np.ndarray], *, workers: Workers = 0) -> Iterator[Batch]:
    """Yield (indices, images, labels) of each of the `chunks` of indices, in order.

    0 `workers` read on demand in this process. Otherwise that many processes read ahead, or ``auto``: as many as the
    machine suggests, but none for data in memory or for a few files. The result is the same. For processes a script
    needs the usual ``if __name__ == "__main__":``, and batches are best passed through `to_device`.
    """
    if workers == "auto":
        few = sum(map(len, chunks)) < FEW_FILES
        workers = 0 if few or samples.store.in_memory else usable_workers()
    if workers < 0:
        raise UsageError(f"workers must be 0 or more, not {workers}")
    return load_ahead(samples.batch, chunks, workers) if workers else ((c, *samples.batch(c.tolist())) for c in chunks)
