"""The data source ``wds:PATTERN[,OPTIONS]``: images and class indices in WebDataset shards, from local files."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stein_bench.data.braces import outside_braces
from stein_bench.data.encoded import EncodedData, Part
from stein_bench.data.options import split_options
from stein_bench.data.samples import MAX_CLASSES
from stein_bench.data.shards import Group, Member, find_shards, groups_in
from stein_bench.data.soundimages import on_damage
from stein_bench.data.texts import Texts
from stein_bench.errors import UsageError
from stein_bench.reading import MOST_JSON, parse_json

OPTIONS = ("train", "image", "label", "damaged")
IMAGES = ("jpg", "jpeg", "png", "webp", "ppm", "bmp", "tif", "tiff")
"""Extensions of image files; ``input.jpg`` is one as well."""


@dataclass(frozen=True, eq=False)
class ShardImages:
    """The encoded image of each sample in some `shards`: as arrays, for there may be millions.

    Attributes:
        whole: the pattern of the shards.
        keys: those of the samples.
        extensions: those of images that occur.
        places: int64 (n, 4): of each image the number of its shard and of its extension, its offset and its size.
    """

    whole: str
    shards: tuple[Path, ...]
    keys: Texts
    extensions: tuple[str, ...]
    places: NDArray[np.int64]

    def read(self, index: int) -> bytes:
        shard, extension, offset, size = self.places[index].tolist()
        name = self.extensions[extension]
        return Group(self.shards[shard], self.keys[index], {name: Member(offset, size)}).read(name)

    def name(self, index: int) -> str:
        shard, file = self._named(index)
        return f"{file} in {shard.name}"

    def where(self, index: int) -> str:
        shard, file = self._named(index)
        return f"{shard}: {file}"

    def ids(self) -> Texts:
        """Return the keys, each behind the name of its shard, or its path, if that is needed for them to differ."""
        ids, shards = self.keys, self.places[:, 0].tolist()
        for prefixes in ([shard.name for shard in self.shards], list(map(str, self.shards))):
            if len(set(ids)) < len(ids):
                ids = Texts.of(f"{prefixes[shard]}/{key}" for shard, key in zip(shards, self.keys, strict=True))
        return ids

    def _named(self, index: int) -> tuple[Path, str]:
        shard, extension, *_ = self.places[index].tolist()
        return self.shards[shard], f"{self.keys[index]}.{self.extensions[extension]}"


def open_wds(text: str) -> EncodedData:
    """Return the source of ``PATTERN[,train=PATTERN][,image=EXTENSION][,label=KEY][,damaged=skip|refuse]``.

    Reads the headers of all shards, and labels. Raises UsageError for anything wrong.
    """
    pattern, given = _options(text)
    if not pattern:
        raise UsageError("wds needs shards: wds:PATTERN, for example wds:shards/test-{000000..000003}.tar")
    parts = {"test": _part(pattern, given)}
    if "train" in given:
        parts["train"] = _part(given["train"], given)
        _check_apart(parts)
    largest = max(int(part.labels.max()) for part in parts.values())
    classes = tuple(map(str, range(largest + 1)))
    name = f"wds:{pattern.rpartition('/')[2]}"
    return EncodedData(
        name, parts, classes, None, upright=False, no_training="name its shards with train=PATTERN",
        on_damage=on_damage(given, f"wds:{text}"),
    )  # fmt: skip


def _options(text: str) -> tuple[str, dict[str, str]]:
    """Split the options from the pattern; a comma within braces separates none."""
    masked = "\0".join(outside_braces(text, ","))
    masked = masked.replace(",", "\1").replace("\0", ",")
    pattern, given = split_options(masked, OPTIONS, "wds")
    return pattern.replace("\1", ","), {name: value.replace("\1", ",") for name, value in given.items()}


def _part(pattern: str, given: Mapping[str, str]) -> Part:
    shards, extensions = tuple(find_shards(pattern)), dict[str, int]()
    places, labels = array("q"), array("q")

    def keys() -> Iterator[str]:
        for number, shard in enumerate(shards):
            for group in list(groups_in(shard)):  # a broken shard is said to be that, whatever its samples lack
                name = _image(group, given.get("image"))
                member = group.members[name]
                places.extend((number, extensions.setdefault(name, len(extensions)), member.offset, member.size))
                labels.append(_label(group, given.get("label")))
                yield group.key

    read = Texts.of(keys())
    if not len(read):
        raise UsageError(f"{pattern}: the shards hold no samples")
    where = np.array(places, np.int64).reshape(-1, 4)
    images = ShardImages(pattern, shards, read, tuple(extensions), where)
    return Part(images, np.array(labels, np.int64), images.ids())


def _check_apart(parts: Mapping[str, Part]) -> None:
    shards = [
        {shard.resolve() for shard in part.contents.shards}
        for part in parts.values()
        if isinstance(part.contents, ShardImages)
    ]
    if both := set.intersection(*shards):
        raise UsageError(f"{min(both)}: is named for training and for evaluation; a model must not train on it")


def _image(group: Group, asked: str | None) -> str:
    if asked is not None:
        if asked.lower() not in group.members:
            raise UsageError(f"{_where(group)} has no file {asked!r}: it has {', '.join(group.members)}")
        return asked.lower()
    found = [name for name in group.members if name.rpartition(".")[2] in IMAGES]
    if len(found) != 1:
        held = ", ".join(group.members)
        what = f"several images ({', '.join(found)}): write image=EXTENSION" if found else f"no image: it has {held}"
        raise UsageError(f"{_where(group)} has {what}")
    return found[0]


def _label(group: Group, key: str | None) -> int:
    """Return the label: the number in ``.cls``, or that of `key` (without one: ``label``) in ``.json``."""
    if key is None and "cls" in group.members:
        return _index(group, "cls", group.read("cls", MOST_JSON).decode("utf-8", "replace").strip())
    if "json" not in group.members:
        hint = "" if key else ", and no .json"
        raise UsageError(f"{_where(group)} has no label: no {'.json' if key else '.cls'}{hint} beside the image")
    try:
        held = parse_json(group.read("json", MOST_JSON), finite=False)
    except ValueError as error:
        raise UsageError(f"{_where(group)}: its .json cannot be read ({error})") from error
    wanted = key or "label"
    if not isinstance(held, dict) or wanted not in held:
        keys = ", ".join(map(str, held)) if isinstance(held, dict) else type(held).__name__
        raise UsageError(f"{_where(group)}: its .json has no {wanted!r}, but {keys}: write label=KEY")
    return _index(group, "json", held[wanted])


def _index(group: Group, extension: str, value: object) -> int:
    whole = isinstance(value, str) and value.isascii() and value.isdecimal()
    number = int(value) if isinstance(value, str) and whole else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < MAX_CLASSES:
        raise UsageError(f"{_where(group)}: its .{extension} holds {str(value)[:40]!r}, no class index from 0 on")
    return number


def _where(group: Group) -> str:
    return f"{group.shard}: sample {group.key!r}"
