"""The data source ``imagefolder:PATH[,classes=FILE][,damaged=skip|refuse]``: one folder of image files per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stein_bench.data.classfolders import folder_labels, split_folders, without_training
from stein_bench.data.folderindex import listed_images
from stein_bench.data.imagefiles import EXTENSIONS
from stein_bench.data.listedimages import Files, ListedImages, left_out_remark
from stein_bench.data.options import split_options
from stein_bench.data.paths import user_path
from stein_bench.data.soundimages import OnDamage, on_damage
from stein_bench.errors import UsageError

OPTIONS = ("classes", "damaged")


def open_imagefolder_spec(text: str) -> ListedImages:
    """Return the source of ``PATH[,classes=FILE][,damaged=skip|refuse]``; UsageError for anything wrong."""
    path, given = split_options(text, OPTIONS, "imagefolder")
    root = user_path(path)
    classes = class_list(given["classes"], root) if "classes" in given else None
    return open_imagefolder(root, classes, on_damage(given, f"imagefolder:{text}"))


def open_imagefolder(root: Path, class_list: Path | None = None, on_damage: OnDamage = "skip") -> ListedImages:
    """Read and check the folder names below `root`; UsageError, with the names, for anything wrong."""
    folders = split_folders(root)
    labels = folder_labels(root, folders, class_list)
    # In the order of the paths below them, where a slash follows each name.
    ordered = [
        (split, name, folder)
        for split, by_class in folders.items()
        for name, folder in sorted(by_class.items(), key=lambda item: f"{item[0]}/")
    ]
    listing = listed_images(root, [folder for _, _, folder in ordered])
    in_split, ends = np.array([split for split, _, _ in ordered]), np.cumsum(listing.counts)
    label_of = np.array([labels.of[name] for _, name, _ in ordered], np.int64)
    files = {}
    for split in folders:
        here = np.flatnonzero(in_split == split)
        first, last = ends[here[0]] - listing.counts[here[0]], ends[here[-1]]
        if first == last:
            known = ", ".join(sorted(EXTENSIONS))
            raise UsageError(f"{root}: the class folders of the {split} split contain no images ({known})")
        paths = listing.paths if len(folders) == 1 else listing.paths.take(np.arange(first, last))
        files[split] = Files(paths, np.repeat(label_of[here], listing.counts[here]))
    return ListedImages(
        f"imagefolder:{root.resolve().name}", str(root), root, files, labels.classes, labels.space,
        without_training(root, folders), (*labels.remarks, *left_out_remark(listing.others)), on_damage,
    )  # fmt: skip


def class_list(text: str, root: Path) -> Path:
    """Return the path of a class list, which may be relative to the data's `root`, as in timm."""
    path = user_path(text)
    return root / path if not path.exists() and (root / path).exists() else path
