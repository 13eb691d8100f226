"""Resolving a data spec to its data source."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

from stein_bench.data.cifar import open_cifar
from stein_bench.data.cifarc import open_cifarc
from stein_bench.data.cityscapes import open_cityscapes_spec
from stein_bench.data.corruptions import OPTIONS
from stein_bench.data.digits import Digits
from stein_bench.data.hf import open_hf
from stein_bench.data.imagefolder import open_imagefolder_spec
from stein_bench.data.imagenetc import open_imagenetc
from stein_bench.data.imagenette import open_imagenette_spec
from stein_bench.data.imagetable import open_image_table
from stein_bench.data.kinds import ALIASES, unknown_data
from stein_bench.data.nifti import open_nifti
from stein_bench.data.npy import open_npy_spec
from stein_bench.data.npz import open_npz_spec
from stein_bench.data.options import split_options
from stein_bench.data.paths import user_path as _path
from stein_bench.data.resize import Resize
from stein_bench.data.samples import Samples
from stein_bench.data.torchvision_data import TORCHVISION_OPENERS
from stein_bench.data.userdata import open_user_data
from stein_bench.data.wds import open_wds
from stein_bench.errors import UsageError


class DataSource(Protocol):
    """A data set: its properties before any samples are read, and its splits."""

    @property
    def name(self) -> str:
        """Short name without folders, for reports."""

    @property
    def task(self) -> str:
        """The task: ``"classification"``, ``"binary"`` or ``"segmentation"``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; labels index them."""

    @property
    def label_space(self) -> str | None:
        """What labels index: `samples.IMAGENET`, `CLASS_INDICES`, `OWN`, or None if it is unknown."""

    @property
    def splits(self) -> tuple[str, ...]:
        """``("train", "test")`` or ``("test",)``."""

    @property
    def native_size(self) -> int | None:
        """Side of the images in pixels if all are square and of one size, otherwise None."""

    @property
    def uniform(self) -> bool:
        """Whether all samples of all splits have the same shape."""

    @property
    def channels(self) -> int:
        """Number of channels of every sample."""

    def samples(self, split: str, resize: Resize | None = None) -> Samples:
        """Return the samples of `split`, resized if `resize` is given.

        Raises UsageError if there is no such split, if samples differ in size and no `resize` is given,
        or if they cannot be read.
        """


@runtime_checkable
class TrainedElsewhere(Protocol):
    """A data source without a training split, whose labels are those of another data set."""

    @property
    def training_data(self) -> str:
        """The spec of the data set to train on."""


def open_data(spec: str) -> DataSource:
    """Return the data source of `spec`, one of the patterns of `DATA_SUMMARIES`; ``~`` is expanded.

    Reads names, shapes and labels but no pixels. Raises a one-line UsageError for anything wrong.
    """
    kind, colon, rest = spec.partition(":")
    kind = ALIASES.get(kind, kind)
    source = _OPENERS[kind](rest if colon else None) if kind in _OPENERS else open_user_data(spec)
    if source is None:
        raise unknown_data(spec)
    if len(source.classes) < 2:
        raise UsageError(f"data {spec!r} has only one class; at least 2 are needed")
    return source


def _digits(rest: str | None) -> DataSource:
    if rest is not None:
        raise UsageError(f"digits is embedded and takes no path: write digits, not 'digits:{rest}'")
    return Digits()


def _imagefolder(rest: str | None) -> DataSource:
    if not rest:
        raise UsageError("imagefolder needs a path: imagefolder:PATH, with one folder of images per class")
    return open_imagefolder_spec(rest)


def _csv(rest: str | None) -> DataSource:
    if not rest:
        raise UsageError("csv needs a table: csv:FILE, with the columns path, label and optionally split")
    return open_image_table(rest)


def _cityscapes(rest: str | None) -> DataSource:
    if not rest:
        raise UsageError("cityscapes needs a path: cityscapes:ROOT, the folder that contains leftImg8bit/ and gtFine/")
    return open_cityscapes_spec(rest)


def _nifti(rest: str | None) -> DataSource:
    if not rest:
        raise UsageError("nifti needs a table: nifti:CSV, with the columns path, label, split and optionally site")
    return open_nifti(rest)


def _cifar(name: str, rest: str | None) -> DataSource:
    if rest == "":
        raise UsageError(f"{name}: no folder given; write {name}:ROOT, or {name} to download it")
    return open_cifar(name, None if rest is None else _path(rest))


def _corrupted(kind: str, rest: str | None) -> DataSource:
    path, options = split_options(rest or "", OPTIONS, kind)
    if not path:
        raise UsageError(f"{kind} needs a path: {kind}:ROOT[,corruption=NAME][,severity=N], the unpacked folder")
    return open_imagenetc(_path(path), options) if kind == "imagenet-c" else open_cifarc(kind, _path(path), options)


_OPENERS: dict[str, Callable[[str | None], DataSource]] = {
    "digits": _digits,
    "hf": lambda rest: open_hf(rest or ""),
    "wds": lambda rest: open_wds(rest or ""),
    "cifar10": partial(_cifar, "cifar10"),
    "cifar10-c": partial(_corrupted, "cifar10-c"),
    "cifar100": partial(_cifar, "cifar100"),
    "cifar100-c": partial(_corrupted, "cifar100-c"),
    "cityscapes": _cityscapes,
    "csv": _csv,
    "imagefolder": _imagefolder,
    "imagenet-c": partial(_corrupted, "imagenet-c"),
    "nifti": _nifti,
    "npz": open_npz_spec,
    "npy": open_npy_spec,
    "imagenette": open_imagenette_spec,
    **TORCHVISION_OPENERS,
}
