"""MNIST and its kin, SVHN and STL-10 where torchvision has put them on the disk; read by torchvision's own classes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.data.arrays import ArrayStore
from stein_bench.data.layouts import channels_last, check_repeatable, parse_channels
from stein_bench.data.options import split_options
from stein_bench.data.paths import user_path
from stein_bench.data.resize import Resize
from stein_bench.data.samples import OWN, Samples
from stein_bench.data.texts import Numbered
from stein_bench.errors import UsageError

_SPLITS = ("train", "test")
_BROKEN = (OSError, RuntimeError, ValueError, KeyError, AssertionError, EOFError, IndexError, TypeError)


@dataclass(frozen=True)
class Kind:
    """How a data set lies on the disk and is read.

    Attributes:
        class_name: of the class in `torchvision.datasets`.
        folder: below ROOT, with the files.
        files: split → the files without which torchvision's class refuses.
        classes: class names in label order; None for the attribute `classes` of torchvision's class.
        size, channels: of the square images.
        read: called with torchvision's class, ROOT and the split, returns images and labels.
        layout: of the images that `read` returns.
    """

    class_name: str
    folder: str
    files: Mapping[str, tuple[str, ...]]
    classes: tuple[str, ...] | None
    size: int
    channels: int
    read: Callable[[Any, Path, str], tuple[Any, Any]]
    layout: str


def _read_mnist(dataset: Any, root: Path, split: str) -> tuple[Any, Any]:
    opened = dataset(str(root), train=split == "train", download=False)
    return opened.data.numpy(), opened.targets.numpy()


def _read_svhn(dataset: Any, root: Path, split: str) -> tuple[Any, Any]:
    opened = dataset(str(root), split=split, download=False)
    return opened.data, opened.labels


def _read_stl10(dataset: Any, root: Path, split: str) -> tuple[Any, Any]:
    """Read only the labeled images: torchvision's class would also check the 2.7 GB of unlabeled ones."""
    lists = {"train": ("train_list", dataset.train_list[:2]), "test": ("test_list", dataset.test_list)}
    empty: dict[str, list[Any]] = {"train_list": [], "test_list": []}
    opened = type(dataset.__name__, (dataset,), empty | dict([lists[split]]))(str(root), split=split, download=False)
    return opened.data, opened.labels


_IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
_MNIST = {"files": dict.fromkeys(_SPLITS, _IDX), "size": 28, "channels": 1, "read": _read_mnist, "layout": "NHW"}
_STL10_CLASSES = "airplane bird car cat deer dog horse monkey ship truck"

KINDS = {
    name: Kind(class_name, f"{class_name}/raw", classes=None, **_MNIST)  # type: ignore[arg-type]
    for name, class_name in (("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST"))
} | {
    "svhn": Kind(
        "SVHN", "", {split: (f"{split}_32x32.mat",) for split in _SPLITS}, tuple("0123456789"), 32, 3, _read_svhn,
        "NCHW",
    ),
    "stl10": Kind(
        "STL10", "stl10_binary", {split: (f"{split}_X.bin", f"{split}_y.bin") for split in _SPLITS},
        tuple(_STL10_CLASSES.split()), 96, 3, _read_stl10, "NCHW",
    ),
}  # fmt: skip
"""Name → kind."""


@dataclass(frozen=True)
class TorchvisionData:
    """Square images in [0, 1] in the published order, from files below `root`; a gray one repeated to `channels`."""

    name: str
    root: Path
    channels: int
    task: str = "classification"
    label_space: str | None = OWN
    splits: tuple[str, ...] = _SPLITS
    uniform: bool = True

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    @property
    def native_size(self) -> int | None:
        return self.kind.size

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.kind.classes or self._dataset().classes)

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split`; UsageError if it does not exist, or if files are missing or damaged."""
        if split not in self.splits:
            raise UsageError(f"{self.name} has no split {split!r}; it has train and test")
        check_files(self.name, self.root, split)
        images, labels = self._read(split)
        stored = channels_last(np.asarray(images, dtype=np.uint8), self.kind.layout, self.channels)
        if len(images) != len(labels) or stored.shape[1:3] != (self.kind.size, self.kind.size):
            raise self._damaged(
                split, f"{len(images)} images of {stored.shape[1]}×{stored.shape[2]}, {len(labels)} labels"
            )
        labels = np.asarray(labels, dtype=np.int64)
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise self._damaged(split, f"labels from {labels.min()} to {labels.max()}")
        ids = Numbered(f"{self.name}/{split}", 0, len(labels))
        notes = (f"the gray channel is repeated to {self.channels}",) if self.channels != self.kind.channels else ()
        store = ArrayStore(stored, resize)
        return Samples(self.name, split, self.classes, labels, ids, store, self.label_space, remarks=notes)

    def _read(self, split: str) -> tuple[Any, Any]:
        try:
            with redirect_stdout(sys.stderr):  # stdout is reserved for the report
                return self.kind.read(self._dataset(), self.root, split)
        except _BROKEN as error:
            reason = " ".join(str(error).split()).replace("You can use download=True to download it", "").rstrip(" .")
            raise self._damaged(split, reason or type(error).__name__) from error

    def _damaged(self, split: str, reason: str) -> UsageError:
        return UsageError(
            f"{self.root / self.kind.folder}: the {split} split is unreadable or damaged ({reason}); remove its files, "
            f"and {_by_hand(self.kind, self.root, split)}"
        )

    def _dataset(self) -> Any:
        from torchvision import datasets  # slow to import, and only needed here

        return getattr(datasets, self.kind.class_name)


def open_torchvision_spec(name: str, text: str | None) -> TorchvisionData:
    """Return the source of what follows ``name:`` in a data spec, ``ROOT[,channels=3]``.

    Raises UsageError if the files of the test split are missing, naming them and how to get them.
    """
    if not text:
        raise UsageError(f"{name}: no folder given; write {name}:ROOT, where torchvision's {KINDS[name].class_name} is")
    path, given = split_options(text, ("channels",), name)
    channels = parse_channels(given["channels"], f"{name}:{text}") if "channels" in given else KINDS[name].channels
    check_repeatable((KINDS[name].channels,), channels, f"{name}:{path}")
    root = user_path(path)
    check_files(name, root, "test")
    return TorchvisionData(name, root, channels)


def check_files(name: str, root: Path, split: str) -> None:
    """Raise a UsageError if a file of the `split` is missing, naming it, its folder and what to do."""
    kind = KINDS[name]
    missing = [file for file in kind.files[split] if not (root / kind.folder / file).is_file()]
    if not missing:
        return
    found = _inner_root(root, kind, missing[0])
    if found is not None:
        raise UsageError(f"{root}: the files of {name} are there, but ROOT is the folder above; write {name}:{found}")
    packed = [file for file in missing if (root / kind.folder / f"{file}.gz").is_file()]
    if packed == missing:
        raise UsageError(f"{root / kind.folder}: unpack {', '.join(f'{file}.gz' for file in packed)} (gunzip)")
    raise UsageError(f"{root / kind.folder}: lacks {', '.join(missing)}; {_by_hand(kind, root, split)}")


def _inner_root(root: Path, kind: Kind, file: str) -> Path | None:
    """Return the ROOT above `root` if `root` lies within torchvision's folders of the data set."""
    for above in list(root.absolute().parents)[: len(Path(kind.folder).parts)]:
        if (above / kind.folder / file).is_file():
            return above
    return None


def _by_hand(kind: Kind, root: Path, split: str) -> str:
    which = "" if kind.class_name.endswith("MNIST") else f"split={split!r}, "
    return f"torchvision.datasets.{kind.class_name}({str(root)!r}, {which}download=True) gets them"


TORCHVISION_OPENERS = {name: partial(open_torchvision_spec, name) for name in KINDS}
"""Name → what opens the rest of its data spec."""
