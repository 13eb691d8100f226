"""The data source ``npy:IMAGES.npy,LABELS.npy``: arrays that may be larger than memory, read batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stein_bench.arrayfiles import check_npy, read_header
from stein_bench.data.arraysource import (
    OPTIONS,
    ArraySource,
    Reading,
    StoredSplit,
    array_source,
    check_not_swapped,
    checked_layout,
    parse_reading,
)
from stein_bench.data.labelarrays import check_label_type, read_labels
from stein_bench.data.npyheader import starts_with
from stein_bench.data.options import is_there, split_options
from stein_bench.data.paths import user_path
from stein_bench.data.pixelvalues import decide_scale, scale_notes
from stein_bench.data.places import Place
from stein_bench.data.resize import Resize
from stein_bench.data.rowfile import open_npy, readable_array
from stein_bench.data.storedrows import CheckedRowStore, RowStore, sampled_range
from stein_bench.data.stores import Store
from stein_bench.errors import UsageError

_USAGE = "npy needs two files: npy:IMAGES.npy,LABELS.npy"
_POSITIONAL = ("images", "labels")  # as for npz, where they are keys
_TRAIN = ("train_images", "train_labels")


@dataclass(frozen=True, eq=False)
class NpySplit(StoredSplit):
    """One split in two .npy files. The scale is recognized by samples; every value is checked before it is used."""

    def store(self, resize: Resize | None) -> tuple[Store, list[str]]:
        file, asked = open_npy(self.place.path), self.reading.scale
        found = sampled_range(file)
        scale = decide_scale(self.dtype, found, asked, str(self.place))
        kind = RowStore if self.dtype == np.uint8 and scale == 255 else CheckedRowStore
        notes = scale_notes(self.dtype, found, scale, asked, self.place)
        return kind(file, self.layout, resize, scale, self.reading.channels), notes


def open_npy_spec(text: str | None) -> ArraySource:
    """Return the source of what follows ``npy:`` in a data spec; UsageError for anything wrong.

    Options: ``train_images=FILE,train_labels=FILE`` and ``layout=``, ``scale=``, ``channels=`` as in `Reading`. Reads
    headers and labels.
    """
    if not text:
        raise UsageError(_USAGE)
    paths, given = split_options(text, (*_TRAIN, *OPTIONS, *_POSITIONAL), "npy")
    if any(key in given for key in _POSITIONAL):
        raise UsageError(f"npy:{text}: the two files have no names; write npy:IMAGES.npy,LABELS.npy")
    images, labels = _two_paths(paths, text)
    reading = parse_reading(given, f"npy:{text}")
    held = {"test": _split(images, labels, reading)}
    train = [user_path(given[key]) for key in _TRAIN if key in given]
    if len(train) == 1:
        raise UsageError(f"npy:{text}: train_images=FILE and train_labels=FILE belong together")
    if train:
        if train[0].resolve() == images.resolve():
            raise UsageError(f"{images}: train_images= names the test file itself; a model must not train on it")
        held = {"train": _split(train[0], train[1], reading), **held}
    no_split = "name training files: ,train_images=FILE,train_labels=FILE"
    return array_source(f"npy:{images.name}", images.stem, held, [], no_split)


def _two_paths(paths: str, text: str) -> tuple[Path, Path]:
    """Split at the comma that leaves two files; paths may contain further ones."""
    parts = paths.split(",")
    cuts = [(",".join(parts[:at]), ",".join(parts[at:])) for at in range(1, len(parts))]
    if len(cuts) > 1:
        cuts = [cut for cut in cuts if all(map(is_there, cut))] or cuts
    if len(cuts) != 1 or not all(part.strip() for part in cuts[0]):
        if paths.lower().endswith(".npz"):
            raise UsageError(f"npy:{text}: for an .npz file write npz:{paths}")
        raise UsageError(f"{_USAGE}, not npy:{text}")
    return user_path(cuts[0][0].strip()), user_path(cuts[0][1].strip())


def _split(images: Path, labels: Path, reading: Reading) -> NpySplit:
    shape, dtype, fortran = _header(images)
    label_shape, label_dtype, _ = _header(labels)
    check_not_swapped(shape, label_shape, str(images))
    layout = checked_layout(shape, dtype, reading, Place(images))
    check_label_type(label_dtype, str(labels))
    with readable_array(labels):
        stored = np.load(labels, allow_pickle=False)
    read = read_labels(stored, shape[0], Place(labels))
    slow = f"{images.name} is in Fortran order, where each image is spread over the whole file, so reading is slow"
    return NpySplit(Place(images), shape, dtype, layout, reading, read, (slow,) if fortran else ())


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic], bool]:
    if not path.exists():
        raise UsageError(f"{path}: no such file; npy data is written npy:IMAGES.npy,LABELS.npy")
    if path.is_file() and starts_with(path, b"PK"):
        raise UsageError(f"{path}: an .npz file, not a single array; write npz:{path}")
    if not path.is_file() or not starts_with(path, np.lib.format.MAGIC_PREFIX):
        raise UsageError(f"{path}: not an .npy file; make one with numpy.save(PATH, array)")
    with readable_array(path), path.open("rb") as file:
        check_npy(path)
        return read_header(file)
