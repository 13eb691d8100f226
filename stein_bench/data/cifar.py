"""The data sources ``cifar10[:ROOT]`` and ``cifar100[:ROOT]`` (A. Krizhevsky, 2009), through torchvision."""

from __future__ import annotations

import http.client
import socket
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stein_bench.cache import cache_folder
from stein_bench.data.arrays import ArrayStore
from stein_bench.data.resize import Resize
from stein_bench.data.samples import OWN, Samples
from stein_bench.data.texts import Numbered
from stein_bench.errors import UsageError
from stein_bench.offline import not_fetched, offline

FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""Name → the folder within ROOT into which the published archive unpacks."""

# Listed here, so that the classes are available before anything is downloaded.
_CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
    can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
    lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter
    palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
    rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
    sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm
"""
CLASSES = {"cifar10": tuple(_CIFAR10_NAMES.split()), "cifar100": tuple(_CIFAR100_NAMES.split())}
"""Name → class names in label order."""

_STALL_SECONDS = 30.0


@dataclass(frozen=True)
class Cifar:
    """32×32 RGB images in [0, 1], 50,000 for training and 10,000 for testing, below the folder `root`."""

    name: str
    root: Path
    download: bool
    task: str = "classification"
    label_space: str | None = OWN
    splits: tuple[str, ...] = ("train", "test")
    native_size: int | None = 32
    uniform: bool = True
    channels: int = 3

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES[self.name]

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the `split` in the published order, downloading the data set first if `download` is set."""
        if split not in self.splits:
            raise UsageError(f"{self.name} has no split {split!r}; it has train and test")
        dataset = self._dataset(split)
        images = np.asarray(dataset.data, dtype=np.uint8)
        labels = np.asarray(dataset.targets, dtype=np.int64)
        ids = Numbered(f"{self.name}/{split}", 0, len(labels))
        return Samples(self.name, split, self.classes, labels, ids, ArrayStore(images, resize))

    def _dataset(self, split: str) -> Any:
        from torchvision import datasets  # slow to import, and only needed here

        kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[self.name]
        by_hand = f"get {kind.url} and unpack it in {self.root}"
        download = self.download and not offline()
        try:
            # Some torchvision versions print to stdout, which is reserved for the report.
            with redirect_stdout(sys.stderr), _socket_timeout(_STALL_SECONDS):
                return kind(str(self.root), train=split == "train", download=download)
        except (OSError, RuntimeError, tarfile.TarError, EOFError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if self.download and not download:
                raise not_fetched(f"{self.name} is not in {self.root / FOLDERS[self.name]}", by_hand) from error
            if self.download:
                raise UsageError(f"{self.name} could not be downloaded ({reason}); {by_hand}") from error
            folder = self.root / FOLDERS[self.name]
            raise UsageError(f"{folder}: files are missing, unreadable or damaged (MD5); {by_hand}") from error


def open_cifar(name: str, root: Path | None = None) -> Cifar:
    """Return the source `name`, below `root` or, for None, in the user's cache (downloaded if needed).

    Raises UsageError if `root` lacks the data set's folder.
    """
    if root is None:
        return Cifar(name, cache_folder() / "data", download=True)
    folder = FOLDERS[name]
    if not (root / folder).is_dir():
        hint = f"; write {name}:{root.parent}" if root.name == folder and root.is_dir() else ""
        raise UsageError(f"{root / folder}: no such folder; {name}:ROOT needs the unpacked {folder}{hint}")
    return Cifar(name, root, download=False)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Set a socket timeout: torchvision sets none, and an unresponsive server would hang the run."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
