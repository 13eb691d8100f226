"""Columns of a Hugging Face data set: which hold the image and the label, and what labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stein_bench.data.samples import IMAGENET, OWN
from stein_bench.errors import UsageError, unknown_name

LABEL_NAMES = ("label", "labels")
"""Names of a column of whole numbers that is the label."""


@dataclass(frozen=True)
class Columns:
    """The columns that hold images and labels, and the names of the classes if the label's feature has them."""

    image: str
    label: str
    names: tuple[str, ...] | None


def choose_columns(where: str, features: Mapping[str, Any], image: str | None, label: str | None) -> Columns:
    """Return the columns named, or the only ones that qualify; UsageError, naming `where`, otherwise."""
    import datasets

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    chosen_image = _chosen(where, "image", image, images, features)
    named = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    numbers = datasets.ClassLabel, datasets.Value
    whole = [name for name, feature in features.items() if isinstance(feature, numbers) and "int" in feature.dtype]
    labels = named or [name for name in LABEL_NAMES if name in whole]
    chosen_label = _chosen(where, "label", label, labels, features, allowed=whole)
    feature = features[chosen_label]
    names = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    return Columns(chosen_image, chosen_label, names)


def label_space(names: tuple[str, ...] | None) -> str | None:
    """Return `IMAGENET` for the names of all its classes in order, `OWN` for others, None without names."""
    if names is None:
        return None
    return IMAGENET if len(names) == 1000 and _is_imagenet(names) else OWN


def _is_imagenet(names: tuple[str, ...]) -> bool:
    from timm.data import ImageNetInfo  # slow to import

    info = ImageNetInfo()
    wnids, words = info.label_names(), [info.index_to_description(label) for label in range(info.num_classes())]
    return list(names) in (list(wnids), words)


def _chosen(
    where: str, kind: str, asked: str | None, found: list[str], features: Mapping[str, Any], allowed: Any = None
) -> str:
    if asked is not None:
        if asked not in features:
            raise unknown_name(f"column of {where}", asked, features)
        if asked not in (found if allowed is None else allowed):
            raise UsageError(f"{where}: the column {asked!r} is {_feature(features[asked])}, no {kind}")
        return asked
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{where} has the {kind} columns {' and '.join(found)}: write {kind}=COLUMN")
    held = ", ".join(f"{name} ({_feature(feature)})" for name, feature in features.items())
    advice = "cast_column it to datasets.Image()" if kind == "image" else "class_encode_column makes one of names"
    raise UsageError(f"{where} has no {kind} column; it has {held}: {advice}, or name one with {kind}=COLUMN")


def _feature(feature: Any) -> str:
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind
