"""The data source ``imagefolder:PATH[,classes=FILE][,damaged=skip|refuse]``: one folder of image files per class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from stein_bench.data.classfolders import folder_labels, split_folders, without_training
from stein_bench.data.imagefiles import EXTENSIONS, image_paths
from stein_bench.data.listedimages import ListedImages, left_out_remark
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
    files: dict[str, list[tuple[str, int]]] = {}
    others: Counter[str] = Counter()
    for split, by_class in folders.items():
        files[split] = sorted(
            (Path(path).relative_to(root).as_posix(), labels.of[name])
            for name, folder in by_class.items()
            for path in image_paths(folder, others)
        )
        if not files[split]:
            known = ", ".join(sorted(EXTENSIONS))
            raise UsageError(f"{root}: the class folders of the {split} split contain no images ({known})")
    return ListedImages(
        f"imagefolder:{root.resolve().name}", str(root), root, files, labels.classes, labels.space,
        without_training(root, folders), (*labels.remarks, *left_out_remark(others)), on_damage,
    )  # fmt: skip


def class_list(text: str, root: Path) -> Path:
    """Return the path of a class list, which may be relative to the data's `root`, as in timm."""
    path = user_path(text)
    return root / path if not path.exists() and (root / path).exists() else path
