"""Labels of class names: ImageNet's for its wnids, otherwise the sorted names are numbered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stein_bench.data.paths import listed
from stein_bench.data.samples import IMAGENET, OWN
from stein_bench.errors import UsageError

WNID = re.compile(r"n\d{8}", re.ASCII)
"""A class of ImageNet: its number in WordNet."""


@dataclass(frozen=True)
class Labels:
    """Class name → label, all `classes` in label order, the label space, and remarks on how labels were found."""

    of: Mapping[str, int]
    classes: tuple[str, ...]
    space: str | None
    remarks: tuple[str, ...] = ()


def labels_of_names(where: object, names: Sequence[str], trained: Sequence[str] | None, kind: str) -> Labels:
    """Return the labels of `names`, which nothing else numbers.

    If one is an ImageNet-1k wnid, all must be, and labels are those of ImageNet-1k. Otherwise the sorted names (of the
    training split, `trained`, if any) are numbered from 0 as the data set's own classes. `kind` says what has these
    names (``folder`` or ``label``). Raises UsageError, beginning with `where`, for names without a label.
    """
    names = sorted(set(names))
    if any(WNID.fullmatch(name) for name in names):
        wnids = imagenet_wnids()
        strange = [name for name in names if WNID.fullmatch(name) and name not in wnids]
        if strange:
            raise UsageError(f"{where}: not classes of ImageNet-1k: {listed(strange)}; remove or rename them")
        others = [name for name in names if name not in wnids]
        if others:
            raise UsageError(
                f"{where}: besides ImageNet-1k classes there are other {kind}s: {listed(others)}; move them"
            )
        return Labels({name: wnids[name] for name in names}, imagenet_classes(), IMAGENET)
    known = names if trained is None else sorted(set(trained))
    unknown = [name for name in names if name not in set(known)]
    if unknown:
        lacking = "a folder in train/" if kind == "folder" else "a row of the split train"
        raise UsageError(f"{where}: classes without {lacking}: {listed(unknown)}; add or remove them")
    return Labels({name: label for label, name in enumerate(known)}, tuple(known), OWN)


def imagenet_wnids() -> dict[str, int]:
    """Return wnid → label of ImageNet-1k, in label order."""
    from timm.data import ImageNetInfo  # slow to import, and only needed for ImageNet's names

    return {wnid: label for label, wnid in enumerate(ImageNetInfo().label_names())}


def imagenet_classes() -> tuple[str, ...]:
    """Return the class names of ImageNet-1k in label order."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return tuple(str(info.index_to_description(label)) for label in range(info.num_classes()))
