"""The data source ``imagenette:ROOT[,size=…]``: ten classes of ImageNet, where torchvision has unpacked them.

Source: https://github.com/fastai/imagenette, read as torchvision's class ``Imagenette`` finds it: ROOT/imagenette2 (or
imagenette2-320, imagenette2-160) with train/ and val/, one folder for each WordNet ID.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stein_bench.data.imagefolder import open_imagefolder
from stein_bench.data.listedimages import ListedImages
from stein_bench.data.options import split_options
from stein_bench.data.paths import user_path
from stein_bench.data.samples import IMAGENET
from stein_bench.errors import UsageError, unknown_name

FOLDERS = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}
"""Size, as torchvision names it → folder below ROOT."""


def open_imagenette_spec(text: str | None) -> ListedImages:
    """Return the source of what follows ``imagenette:`` in a data spec, ``ROOT[,size=full|320px|160px]``.

    Labels are those of ImageNet-1k. Raises UsageError if the folder is missing, if several
    sizes are there and none is named, or for other classes.
    """
    if not text:
        raise UsageError("imagenette needs a path: imagenette:ROOT, the folder that contains imagenette2/")
    path, given = split_options(text, ("size",), "imagenette")
    root, size = user_path(path), given.get("size")
    if size is not None and size not in FOLDERS:
        raise unknown_name("size of imagenette", size, FOLDERS)
    folder = _folder(root, size)
    opened = open_imagefolder(folder)
    if opened.label_space != IMAGENET or opened.splits != ("train", "test"):
        raise UsageError(
            f"{folder}: not Imagenette, which has train/ and val/ with folders of WordNet IDs; {_get(root)}"
        )
    return replace(opened, name=f"imagenette:{folder.name}")


def _folder(root: Path, size: str | None) -> Path:
    found = [name for name, folder in FOLDERS.items() if (root / folder).is_dir()]
    if size in found or (size is None and len(found) == 1):
        return root / FOLDERS[size or found[0]]
    if size is None and found:
        raise UsageError(f"{root}: has Imagenette in {len(found)} sizes; add ,size={'|'.join(found)}")
    if root.name in FOLDERS.values() and root.is_dir():
        inner = next(name for name, folder in FOLDERS.items() if folder == root.name)
        raise UsageError(f"{root}: ROOT is the folder above; write imagenette:{root.absolute().parent},size={inner}")
    wanted = FOLDERS[size] if size else " or ".join(FOLDERS.values())
    raise UsageError(f"{root}: holds no folder {wanted}; {_get(root, size)}")


def _get(root: Path, size: str | None = None) -> str:
    return f"torchvision.datasets.Imagenette({str(root)!r}, size={size or 'full'!r}, download=True) gets it"
