"""The data source ``npz:PATH[,train=PATH]``: the user's own arrays, validated."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.data.arrays import ArrayStore
from stein_bench.data.resize import Resize
from stein_bench.data.samples import MAX_CLASSES, Samples
from stein_bench.errors import UsageError

_CORRUPT = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    KeyError,  # a member that is not an .npy file
    EOFError,
    OSError,
    NotImplementedError,  # an unsupported compression or encryption
)
_LAYOUT = "N×H×W×C (images) or N×D×H×W×C (volumes)"


@dataclass(frozen=True, eq=False)
class NpzFile:
    """The contents of one .npz file except the pixels, which are read on demand."""

    path: Path
    shape: tuple[int, ...]  # of `images`, channels last
    dtype: np.dtype[Any]  # of `images`, an integer type
    labels: np.ndarray
    classes: tuple[str, ...] | None

    def images(self) -> np.ndarray:
        """Return the images as uint8, channels last; UsageError if values are outside 0 … 255."""
        with _readable(self.path) as arrays:
            images: np.ndarray = arrays["images"]
        if self.dtype != np.uint8:
            low, high = int(images.min()), int(images.max())
            if low < 0 or high > 255:
                raise UsageError(
                    f"{self.path}: `images` has values from {low} to {high}; store them as uint8, 0 to 255"
                )
        return images.astype(np.uint8, copy=False)


@dataclass(frozen=True, eq=False)
class NpzSource:
    """The split ``test`` from one file and, if given, ``train`` from another."""

    test: NpzFile
    train: NpzFile | None
    classes: tuple[str, ...]
    task: str = "classification"
    label_space: str | None = None

    @property
    def name(self) -> str:
        return f"npz:{self.test.path.name}"

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "test") if self.train else ("test",)

    @property
    def uniform(self) -> bool:
        return self.train is None or self.train.shape[1:] == self.test.shape[1:]

    @property
    def native_size(self) -> int | None:
        sides = set(self.test.shape[1:-1])
        is_square = self.uniform and len(self.test.shape) == 4 and len(sides) == 1
        return sides.pop() if is_square else None

    @property
    def channels(self) -> int:
        return self.test.shape[-1]

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in the order of its file."""
        file = {"test": self.test, "train": self.train}.get(split)
        if file is None:
            raise UsageError(
                f"npz data of {self.test.path} has no split {split!r}; name a training file: npz:PATH,train=PATH"
            )
        if resize is None and not self.uniform:
            raise UsageError(
                f"the images of {self.test.path} and of its training file differ in size; give --image-size"
            )
        ids = tuple(f"{self.test.path.stem}/{split}/{index:04d}" for index in range(len(file.labels)))
        return Samples(self.name, split, self.classes, file.labels, ids, ArrayStore(file.images(), resize))


def open_npz(test_path: Path, train_path: Path | None = None) -> NpzSource:
    """Read and check everything but the pixels; UsageError, naming the file, for anything wrong."""
    if train_path and train_path.resolve() == test_path.resolve():
        raise UsageError(f"{test_path}: train= names the test file itself; a model must not train on it")
    test = _describe(test_path)
    train = _describe(train_path) if train_path else None
    if train and (train.shape[-1], len(train.shape)) != (test.shape[-1], len(test.shape)):
        raise UsageError(
            f"{train.path}: `images` is {_sizes(train.shape)} and in {test.path} {_sizes(test.shape)}; "
            "training and test images need the same number of axes and channels"
        )
    return NpzSource(test, train, _common_classes([file for file in (train, test) if file]))


def _describe(path: Path) -> NpzFile:
    if not path.exists():
        raise UsageError(f"{path}: no such file; npz data is written npz:PATH or npz:PATH,train=PATH")
    if not path.is_file() or not _is_zip(path):
        raise UsageError(f"{path}: not an .npz file; make one with numpy.savez(PATH, images=…, labels=…)")
    with _readable(path) as arrays:
        missing = [key for key in ("images", "labels") if key not in arrays]
        if missing:
            held = ", ".join(arrays.files) or "nothing"
            raise UsageError(f"{path}: lacks `{'` and `'.join(missing)}`; it holds {held}")
        shape, dtype = _header(arrays, "images")
        _check_images(path, shape, dtype)
        labels = _checked_labels(path, arrays, shape[0])
        classes = _checked_classes(path, arrays) if "classes" in arrays else None
    return NpzFile(path, shape, dtype, labels, classes)


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
            yield arrays
    except _CORRUPT as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: damaged or not readable ({reason}); write it again") from error


def _header(arrays: Any, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and dtype of an array without its values, which may take gigabytes."""
    with arrays.zip.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    return shape, dtype


def _check_images(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "iu":
        raise UsageError(f"{path}: `images` is {dtype}; store whole numbers from 0 to 255 as uint8")
    if len(shape) not in (4, 5):
        raise UsageError(f"{path}: `images` is {_sizes(shape)}; {_LAYOUT} is needed, with C = 1 for a single channel")
    if 0 in shape:
        raise UsageError(f"{path}: `images` is empty ({_sizes(shape)}); at least one sample is needed")
    if shape[1] in (1, 3) and shape[-1] > 4:
        raise UsageError(f"{path}: `images` is {_sizes(shape)}, channels first; the layout is {_LAYOUT}")


def _checked_labels(path: Path, arrays: Any, count: int) -> np.ndarray:
    shape, dtype = _header(arrays, "labels")
    if dtype.kind not in "iu":
        raise UsageError(f"{path}: `labels` is {dtype}; store class indices as whole numbers")
    if shape != (count,):
        raise UsageError(f"{path}: `labels` is {_sizes(shape)}, but there are {count} images; give one label per image")
    labels: np.ndarray = arrays["labels"]
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise UsageError(f"{path}: `labels` has the value {low}; class indices start at 0")
    if high >= MAX_CLASSES:
        raise UsageError(f"{path}: `labels` has the value {high}; class indices below {MAX_CLASSES} are needed")
    return labels.astype(np.int64)


def _checked_classes(path: Path, arrays: Any) -> tuple[str, ...]:
    shape, dtype = _header(arrays, "classes")
    if dtype.kind != "U" or len(shape) != 1 or not shape[0]:
        raise UsageError(f"{path}: `classes` is {dtype} {_sizes(shape)}; store a list of names as strings")
    names = tuple(str(name) for name in arrays["classes"])
    if len(set(names)) < len(names):
        raise UsageError(f"{path}: `classes` names a class twice; give each its own name")
    return names


def _common_classes(files: list[NpzFile]) -> tuple[str, ...]:
    """Return the class names common to the files: the given names, or ``"0"`` to the largest label."""
    named = {file.classes: file.path for file in files if file.classes is not None}
    if len(named) > 1:
        raise UsageError(f"{' and '.join(map(str, named.values()))}: `classes` differs; use the same names")
    if not named:
        largest = max(int(file.labels.max()) for file in files)
        return tuple(str(label) for label in range(largest + 1))
    [classes] = named
    for file in files:
        if file.labels.max() >= len(classes):
            raise UsageError(
                f"{file.path}: `labels` has the value {file.labels.max()}, but `classes` names "
                f"{len(classes)}; labels go from 0 to {len(classes) - 1}"
            )
    return classes


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single value"
