"""Layout of class folders: splits, and the label of each folder name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stein_bench.data.classlist import labels_from_list
from stein_bench.data.classnames import Labels, labels_of_names
from stein_bench.data.paths import listed
from stein_bench.data.samples import CLASS_INDICES, MAX_CLASSES
from stein_bench.errors import UsageError

TEST_FOLDERS = ("val", "validation", "test")
"""Names of the test split's folder. The first with class folders is used: ImageNet's test has none."""

CLASS_LIST = "classes.txt"
"""Name of a class list in the root, which is used unless another is given."""


def split_folders(root: Path) -> dict[str, dict[str, Path]]:
    """Return split → class folder name → class folder.

    ``train/`` and one of ``val/``, ``validation/``, ``test/``, both with class folders, are the two splits; one of the
    latter that is all there is, with class folders, is the split ``test``; otherwise the folders of `root` itself are
    classes, and the only split is ``test``. Raises UsageError if `root` is not a folder, contains none, or contains
    folders that are named like splits but are not such a pair: read as classes, they would give meaningless results.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; write imagefolder:PATH")
    classes = subfolders(root)
    if not classes:
        raise UsageError(f"{root}: holds no folders; put the images of each class in a separate folder")
    by_split = {name: subfolders(classes[name]) for name in ("train", *TEST_FOLDERS) if name in classes}
    tests = [by_split[name] for name in TEST_FOLDERS if by_split.get(name)]
    if by_split.get("train") and tests:
        return {"train": by_split["train"], "test": tests[0]}
    if by_split.keys() != classes.keys():
        return {"test": classes}
    if tests and len(classes) == 1:
        return {"test": tests[0]}
    usable = next((name for name, held in by_split.items() if held), None)
    hint = f", or name one split: imagefolder:{root / usable}" if usable else ""
    raise UsageError(
        f"{root}: holds {listed(list(classes))}; it needs train/ and one of val/, validation/ or test/, each with "
        f"class folders: add what is missing{hint}"
    )


def without_training(root: Path, folders: Mapping[str, Mapping[str, Path]]) -> str:
    """Return what to do where `root` has no training split, as the end of a message."""
    whole = next(iter(folders["test"].values())).parent
    if whole.resolve() == root.resolve() and whole.resolve().name not in TEST_FOLDERS:
        return "put class folders into train/ and val/ to have both"
    above = whole.parent if whole.name else whole.resolve().parent
    here = whole.resolve().name
    return f"put class folders into {above / 'train'}/, beside those in {here}/, and write imagefolder:{above}"


def folder_labels(root: Path, folders: Mapping[str, Mapping[str, Path]], class_list: Path | None) -> Labels:
    """Return the label of every folder name.

    A class list determines them: `class_list`, or ``classes.txt`` in `root`. Otherwise, if all are whole numbers, they
    are the model's class indices, whatever their meaning; else see `labels_of_names`. Raises UsageError for names
    without a label.
    """
    names = sorted({name for classes in folders.values() for name in classes})
    found = class_list or _found_list(root)
    if found is not None:
        return labels_from_list(found, names, "folder", given=class_list is not None)
    if all(name.isascii() and name.isdecimal() for name in names):
        return _numbered(root, names)
    return labels_of_names(root, names, list(folders["train"]) if "train" in folders else None, "folder")


def _found_list(root: Path) -> Path | None:
    """Return the class list in `root` or, for a split of a larger folder, in the folder above it."""
    places = [root, root.resolve().parent] if root.resolve().name in ("train", *TEST_FOLDERS) else [root]
    return next((place / CLASS_LIST for place in places if (place / CLASS_LIST).is_file()), None)


def _numbered(root: Path, names: list[str]) -> Labels:
    labels = {name: int(name) for name in names}
    if len(set(labels.values())) < len(labels):
        raise UsageError(f"{root}: two folder names are the same number: {listed(names)}; merge them")
    largest = max(labels.values())
    if largest >= MAX_CLASSES:
        raise UsageError(f"{root}: folder {largest} is not a class index (below {MAX_CLASSES}); rename it")
    remark = "folder names are whole numbers and taken as the model's class indices"
    if [labels[name] for name in sorted(names)] != list(range(len(names))):  # as text, 10 comes before 2
        remark += "; torchvision's ImageFolder numbers the sorted names instead, which gives other labels"
    return Labels(labels, tuple(str(label) for label in range(largest + 1)), CLASS_INDICES, (remark,))


def subfolders(folder: Path) -> dict[str, Path]:
    """Return name → folder for the folders in `folder`, sorted, without hidden ones."""
    try:
        entries = sorted(folder.iterdir())
        return {entry.name: entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")}
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed ({error.strerror or error})") from error
