"""Layout of class folders: splits, and the label of each folder name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from stein_bench.data.samples import CLASS_INDICES, IMAGENET, MAX_CLASSES, OWN
from stein_bench.errors import UsageError

TEST_FOLDERS = ("val", "validation", "test")
"""Names of the test split's folder. The first with class folders is used: ImageNet's test has none."""

_WNID = re.compile(r"n\d{8}", re.ASCII)
_MOST_NAMED = 5


def split_folders(root: Path) -> dict[str, dict[str, Path]]:
    """Return split → class folder name → class folder.

    ``train/`` and one of ``val/``, ``validation/``, ``test/``, both with class folders, are the two
    splits; otherwise the folders of `root` itself are classes, and the only split is ``test``. Raises
    UsageError if `root` is not a folder, contains none, or contains folders that are named like splits but are
    not such a pair: read as classes, they would give meaningless results.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; write imagefolder:PATH")
    classes = subfolders(root)
    if not classes:
        raise UsageError(f"{root}: holds no folders; put the images of each class in a separate folder")
    by_split = {name: subfolders(classes[name]) for name in ("train", *TEST_FOLDERS) if name in classes}
    test = next((by_split[name] for name in TEST_FOLDERS if by_split.get(name)), None)
    if by_split.get("train") and test:
        return {"train": by_split["train"], "test": test}
    if by_split.keys() == classes.keys():
        raise UsageError(
            f"{root}: holds {_listed(classes)}; it needs train/ and one of val/, validation/ or test/, each "
            "with class folders: add what is missing, or name one split as imagefolder:PATH/SPLIT"
        )
    return {"test": classes}


def label_names(
    root: Path, folders: Mapping[str, Mapping[str, Path]]
) -> tuple[dict[str, int], tuple[str, ...], str | None]:
    """Return folder name → label, the class names in label order, and the label space.

    If all are ImageNet-1k wnids, labels are those of ImageNet-1k. If all are whole numbers, they are the model's class
    indices, whatever their meaning. Otherwise the sorted names (of the training split, if any) are numbered from 0 as
    the data set's own classes. Raises UsageError for names without a label.
    """
    names = sorted({name for classes in folders.values() for name in classes})
    if any(_WNID.fullmatch(name) for name in names):
        wnids = _imagenet_labels()
        strange = [name for name in names if _WNID.fullmatch(name) and name not in wnids]
        if strange:
            raise UsageError(f"{root}: not classes of ImageNet-1k: {_listed(strange)}; remove or rename them")
        others = [name for name in names if name not in wnids]
        if others:
            raise UsageError(
                f"{root}: besides ImageNet-1k classes there are other folders: {_listed(others)}; move them"
            )
        return {name: wnids[name] for name in names}, _imagenet_classes(), IMAGENET
    if all(name.isascii() and name.isdecimal() for name in names):
        return *_numbered(root, names), CLASS_INDICES
    known = sorted(folders["train"]) if "train" in folders else names
    unknown = [name for name in names if name not in set(known)]
    if unknown:
        raise UsageError(f"{root}: classes without a folder in train/: {_listed(unknown)}; add or remove them")
    return {name: label for label, name in enumerate(known)}, tuple(known), OWN


def _numbered(root: Path, names: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    labels = {name: int(name) for name in names}
    if len(set(labels.values())) < len(labels):
        raise UsageError(f"{root}: two folder names are the same number: {_listed(names)}; merge them")
    largest = max(labels.values())
    if largest >= MAX_CLASSES:
        raise UsageError(f"{root}: folder {largest} is not a class index (below {MAX_CLASSES}); rename it")
    return labels, tuple(str(label) for label in range(largest + 1))


def _imagenet_labels() -> dict[str, int]:
    from timm.data import ImageNetInfo  # slow to import, and only needed for ImageNet folders

    return {wnid: label for label, wnid in enumerate(ImageNetInfo().label_names())}


def _imagenet_classes() -> tuple[str, ...]:
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return tuple(str(info.index_to_description(label)) for label in range(info.num_classes()))


def subfolders(folder: Path) -> dict[str, Path]:
    """Return name → folder for the folders in `folder`, sorted, without hidden ones."""
    try:
        entries = sorted(folder.iterdir())
        return {entry.name: entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror or error})") from error


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
