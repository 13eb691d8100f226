"""Which arrays of an .npz file are the images and which the labels, from the names in use.

Keras' ``mnist.npz`` holds ``x_train``, ``y_train``, ``x_test`` and ``y_test`` (uint8 N×28×28, labels N). MedMNIST's
files (github.com/MedMNIST/MedMNIST, medmnist/dataset.py) hold ``train_images``, ``train_labels`` and the same with
``val_`` and ``test_`` (uint8 N×28×28 or N×28×28×3, for 3-D N×28×28×28; labels N×1, for ChestMNIST N×14, multi-label).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stein_bench.data.layouts import sizes
from stein_bench.errors import UsageError, suggestion


@dataclass(frozen=True)
class Pair:
    """The names of an array of images and of their labels."""

    images: str
    labels: str

    def __str__(self) -> str:
        return f"`{self.images}` and `{self.labels}`"


DOCUMENTED = Pair("images", "labels")
UNSPLIT = (DOCUMENTED, *(Pair(*names.split("/")) for names in ("X/y", "x/y", "data/targets", "data/labels")))
"""Names without a split."""
SPLIT = tuple(
    {split: Pair(*(name.format(split) for name in names)) for split in ("train", "val", "test")}
    for names in (
        ("x_{}", "y_{}"), ("X_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}_x", "{}_y"), ("{}_data", "{}_labels"),
        ("images_{}", "labels_{}"), ("X_{}", "Y_{}"), ("{}_X", "{}_y"),
    )
)  # fmt: skip
"""Names with a split, several in one file."""
MEDMNIST = SPLIT[2]

Headers = Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]
"""Name → shape and type of every array of a file."""


def find_pair(headers: Headers, split: str, where: str, images: str | None, labels: str | None) -> Pair:
    """Return the arrays of `split` (``test`` or ``train``): those named, else the only ones with names in use.

    Raises UsageError, with the arrays that the file `where` holds, if there are none or several.
    """
    if images or labels:
        return _named(headers, split, where, images, labels)
    pairs = [pair for pair in (*UNSPLIT, *(names[split] for names in SPLIT)) if _has(headers, pair)]
    if len(pairs) == 1:
        return pairs[0]
    option = _options(split)
    if pairs:
        raise UsageError(
            f"{where}: {', or '.join(map(str, pairs))}? Choose: add ,{option[0]}={pairs[0].images},{option[1]}="
            f"{pairs[0].labels}"
        )
    raise _lacking(headers, split, where)


def pair_of_other_split(headers: Headers, pair: Pair, split: str) -> Pair | None:
    """Return the arrays of `split` in the file that holds the other split as `pair`; None if there are none."""
    if pair in UNSPLIT:
        return None
    own = [names for names in SPLIT if pair in names.values()]
    found = [names[split] for names in own or SPLIT if _has(headers, names[split])]
    return found[0] if len(found) == 1 and found[0] != pair else None


def unused_notes(headers: Headers, used: list[Pair], where: str) -> list[str]:
    """Return a note on arrays of a further split, such as ``val_images``, that play no part."""
    known = {name for pair in used for name in (pair.images, pair.labels)}
    others = [pair for names in SPLIT for pair in names.values() if _has(headers, pair)]
    return [f"{where}: {pair} are not used" for pair in others if not {pair.images, pair.labels} & known]


def holdings(headers: Headers) -> str:
    """Return the arrays with shapes and types, as text."""
    shown = [f"{name} ({sizes(shape)}, {dtype})" for name, (shape, dtype) in headers.items()]
    return ", ".join(shown) or "nothing"


def _has(headers: Headers, pair: Pair) -> bool:
    return pair.images in headers and pair.labels in headers


def _options(split: str) -> tuple[str, str]:
    return ("images", "labels") if split == "test" else ("train_images", "train_labels")


def _named(headers: Headers, split: str, where: str, images: str | None, labels: str | None) -> Pair:
    option = _options(split)
    if images is None or labels is None:
        raise UsageError(f"{where}: {option[0]}=KEY and {option[1]}=KEY belong together; it holds {holdings(headers)}")
    for name in (images, labels):
        if name not in headers:
            near = suggestion(name, headers)
            raise UsageError(f"{where}: has no array {name!r}.{near} It holds {holdings(headers)}")
    return Pair(images, labels)


def _lacking(headers: Headers, split: str, where: str) -> UsageError:
    missing = [name for name in ("images", "labels") if name not in headers]
    option, likely = _options(split), _likely(headers) or Pair("KEY", "KEY")
    hint = f"; name them: ,{option[0]}={likely.images},{option[1]}={likely.labels}" if len(headers) > 1 else ""
    return UsageError(f"{where}: lacks `{'` and `'.join(missing)}`; it holds {holdings(headers)}{hint}")


def _likely(headers: Headers) -> Pair | None:
    """Return the only array that can be images and the only one that can be their labels."""
    images = [name for name, (shape, dtype) in headers.items() if len(shape) >= 3 and dtype.kind in "biuf"]
    if len(images) != 1:
        return None
    count = headers[images[0]][0][0]
    labels = [name for name, (shape, _) in headers.items() if shape[:1] == (count,) and name != images[0]]
    return Pair(images[0], labels[0]) if len(labels) == 1 else None
