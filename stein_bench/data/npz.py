"""The data source ``npz:FILE[,train=FILE][,images=KEY,labels=KEY]…``: the user's own arrays, validated."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.arrayfiles import check_npz, read_header
from stein_bench.data import npzrows
from stein_bench.data.arraykeys import (
    DOCUMENTED,
    MEDMNIST,
    Headers,
    Pair,
    find_pair,
    pair_of_other_split,
    unused_notes,
)
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
from stein_bench.data.floats import array_store
from stein_bench.data.labelarrays import check_label_type, read_labels
from stein_bench.data.layouts import channels_last, sizes
from stein_bench.data.npyheader import starts_with
from stein_bench.data.options import split_options
from stein_bench.data.paths import user_path
from stein_bench.data.pixelvalues import Range, decide_scale, scale_notes, stored_values, value_range
from stein_bench.data.places import Place
from stein_bench.data.resize import Resize
from stein_bench.data.rowfile import RowFile
from stein_bench.data.storedrows import RowStore, ScannedRowStore
from stein_bench.data.stores import Store
from stein_bench.errors import UsageError

_CORRUPT = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,  # a member that is not an .npy file
    EOFError,
    OSError,
    RuntimeError,  # an encrypted member, or an unsupported compression
)
_ZIP = b"PK\x03\x04"  # begins every zip archive that holds a file
_KEYS = ("images", "labels", "train_images", "train_labels")
_USAGE = "npz needs a path: npz:PATH or npz:PATH,train=PATH"
_NO_SPLIT = "name a training file: npz:PATH,train=PATH"


@dataclass(frozen=True, eq=False)
class NpzSplit(StoredSplit):
    """One split in an .npz file."""

    def store(self, resize: Resize | None) -> tuple[Store, list[str]]:
        images, found = self._read
        scale = decide_scale(self.dtype, found, self.reading.scale, str(self.place))
        notes = scale_notes(self.dtype, found, scale, self.reading.scale, self.place)
        if isinstance(images, RowFile):
            kind = RowStore if self.dtype.kind in "iu" and scale == 255 else ScannedRowStore
            return kind(images, self.layout, resize, scale, self.reading.channels), notes
        stored = channels_last(stored_values(images, scale), self.layout, self.reading.channels)
        return array_store(stored, resize, scale), notes

    @cached_property
    def _read(self) -> tuple[np.ndarray | RowFile, Range]:
        """The images, or where they can be read if they are large, and the range of their values."""
        with _readable(self.place.path) as arrays:
            if math.prod(self.stored_shape) * self.dtype.itemsize > npzrows.SMALL:
                found = npzrows.scanned_rows(self.place.path, arrays.zip, f"{self.place.key}.npy")
                if found is not None:
                    return found
            images: np.ndarray = arrays[self.place.key]
        return images, value_range(images)


@dataclass(frozen=True)
class _File:
    """An .npz file with its headers."""

    path: Path
    headers: Headers

    def split(self, pair: Pair, reading: Reading, remarks: list[str]) -> NpzSplit:
        """Read the labels of `pair` and check everything but the pixels."""
        images, labels = Place(self.path, pair.images), Place(self.path, pair.labels)
        shape, dtype = self.headers[pair.images]
        check_not_swapped(shape, self.headers[pair.labels][0], str(images))
        layout = _medmnist_volume(self.headers, pair, reading) or checked_layout(shape, dtype, reading, images)
        check_label_type(self.headers[pair.labels][1], str(labels))
        with _readable(self.path) as arrays:
            read = read_labels(arrays[pair.labels], shape[0], labels)
        if pair != DOCUMENTED:
            remarks = [f"{self.path.name}: {pair} are the images and labels", *remarks]
        return NpzSplit(images, shape, dtype, layout, reading, read, tuple(remarks))

    def classes(self) -> list[tuple[tuple[str, ...], Place]]:
        """Return the class names, if the file has any, and their place."""
        if "classes" not in self.headers:
            return []
        place, (shape, dtype) = Place(self.path, "classes"), self.headers["classes"]
        if dtype.kind != "U" or len(shape) != 1 or not shape[0]:
            raise UsageError(f"{place} is {dtype} {sizes(shape)}; store a list of names as strings")
        with _readable(self.path) as arrays:
            names = tuple(str(name) for name in arrays["classes"])
        if len(set(names)) < len(names):
            raise UsageError(f"{place} names a class twice; give each its own name")
        return [(names, place)]


def open_npz_spec(text: str | None) -> ArraySource:
    """Return the source of what follows ``npz:`` in a data spec; UsageError for anything wrong.

    Options: ``train=FILE``; ``images=KEY,labels=KEY`` and, if different, ``train_images=KEY,train_labels=KEY``;
    ``layout=``, ``scale=`` and ``channels=`` as in `Reading`. Reads everything but the pixels.
    """
    if not text or text.endswith(",train="):
        raise UsageError(_USAGE)
    path, given = split_options(text, ("train", *_KEYS, *OPTIONS), "npz")
    if not path:
        raise UsageError(_USAGE)
    reading = parse_reading(given, f"npz:{text}")
    keys = {key: given[key] for key in _KEYS if key in given}
    train = user_path(given["train"]) if "train" in given else None
    return open_npz(user_path(path), train, keys, reading)


def open_npz(
    test_path: Path, train_path: Path | None = None, keys: dict[str, str] | None = None, reading: Reading | None = None
) -> ArraySource:
    """Read and check everything but the pixels; UsageError, naming the file, for anything wrong.

    Args:
        test_path: file of the test split, and of the training split if it holds both.
        train_path: file of the training split.
        keys: ``images``, ``labels``, ``train_images``, ``train_labels`` → name of an array.
        reading: how values and axes are to be read.
    """
    keys, reading = keys or {}, reading or Reading()
    if train_path and train_path.resolve() == test_path.resolve():
        raise UsageError(f"{test_path}: train= names the test file itself; a model must not train on it")
    test_file = _opened(test_path)
    pair = find_pair(test_file.headers, "test", str(test_path), keys.get("images"), keys.get("labels"))
    train_file = _opened(train_path) if train_path else test_file
    train = _train_pair(test_file, train_file, pair, keys)
    used = [pair] if train is None or train_path else [pair, train]
    held = {"test": test_file.split(pair, reading, unused_notes(test_file.headers, used, test_path.name))}
    if train:
        held = {"train": train_file.split(train, reading, []), **held}
    files = [train_file, test_file] if train_path else [test_file]
    classes = [found for file in files for found in file.classes()]
    return array_source(f"npz:{test_path.name}", test_path.stem, held, classes, _NO_SPLIT)


def _train_pair(test_file: _File, train_file: _File, pair: Pair, keys: dict[str, str]) -> Pair | None:
    """Return the arrays to train on: those named; of a file of its own, the test file's keys or names in use."""
    own, where = (keys.get("train_images"), keys.get("train_labels")), str(train_file.path)
    if train_file is test_file and not any(own):
        return pair_of_other_split(test_file.headers, pair, "train")
    if not any(own) and {pair.images, pair.labels} <= train_file.headers.keys() and "images" in keys:
        return pair
    train = find_pair(train_file.headers, "train", where, *own)
    if train_file is test_file and train.images == pair.images:
        raise UsageError(f"{where}: `{train.images}` is the test data; a model must not train on it")
    return train


def _opened(path: Path) -> _File:
    if not path.exists():
        raise UsageError(f"{path}: no such file; npz data is written npz:PATH or npz:PATH,train=PATH")
    if not path.is_file():
        raise UsageError(f"{path}: not a file; npz data is written npz:PATH or npz:PATH,train=PATH")
    if not _is_zip(path):
        raise _not_npz(path)
    with _readable(path) as arrays:
        headers = {}
        for name in arrays.zip.namelist():
            if name.endswith(".npy"):  # what else a zip archive holds is no array
                with arrays.zip.open(name) as member:
                    headers[name.removesuffix(".npy")] = read_header(member)[:2]
    return _File(path, headers)


def _not_npz(path: Path) -> UsageError:
    if starts_with(path, np.lib.format.MAGIC_PREFIX):
        return UsageError(f"{path}: not an .npz file but a single array; write npy:IMAGES.npy,LABELS.npy")
    if starts_with(path, _ZIP):
        return UsageError(f"{path}: cut off or damaged (a zip archive without its end); copy or write it again")
    return UsageError(f"{path}: not an .npz file; make one with numpy.savez(PATH, images=…, labels=…)")


def _medmnist_volume(headers: Headers, pair: Pair, reading: Reading) -> str | None:
    """Return the layout of MedMNIST's volumes, cubes of one channel, which no axis tells from 28 channels."""
    shape, dtype = headers[pair.images]
    names = {name for known in MEDMNIST.values() for name in (known.images, known.labels)}
    cube = len(shape) == 4 and len(set(shape[1:])) == 1 and dtype == np.uint8
    return "NDHW" if cube and reading == Reading() and names <= headers.keys() and pair in MEDMNIST.values() else None


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return zipfile.is_zipfile(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def _readable(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            check_npz(arrays.zip, path.stat().st_size)
            yield arrays
    except _CORRUPT as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: damaged or not readable ({reason}); write it again") from error
