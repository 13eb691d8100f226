"""Class lists: text files that name a model's classes in label order, one in each line.

Layouts in use: only names, as timm's `class_map` files (`timm.data.readers.class_map`); a name and its description, as
ImageNet's ``LOC_synset_mapping.txt`` (``n01440764 tench, Tinca tinca``); the label before the name, as many model zoos.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stein_bench.data.classnames import WNID, Labels, imagenet_classes, imagenet_wnids
from stein_bench.data.paths import listed
from stein_bench.data.samples import IMAGENET, OWN
from stein_bench.errors import UsageError

_NUMBERED = re.compile(r"([0-9]{1,6})\s+(\S.*)")
FORMS = "one name in each line, a name and its description, or the label (from 0) and the name"


class UnlistedError(UsageError):
    """A class list does not name all classes."""


@dataclass(frozen=True)
class _Reading:
    """One way to read the lines: a name for each, the label for each, and how this is said in a remark."""

    names: tuple[str, ...]
    labels: tuple[int, ...]
    how: str

    @property
    def twice(self) -> str | None:
        """A name that occurs twice."""
        return next((name for name, count in Counter(self.names).items() if count > 1), None)

    @property
    def of(self) -> dict[str, int]:
        """Name → label."""
        return dict(zip(self.names, self.labels, strict=True))

    @property
    def in_order(self) -> tuple[str, ...]:
        """The names in label order."""
        return tuple(name for _, name in sorted(zip(self.labels, self.names, strict=True)))


def labels_from_list(path: Path, names: Sequence[str], kind: str, *, given: bool) -> Labels:
    """Return the labels of `names`, the ``folder`` names or ``label`` values of a data set, by the list in `path`.

    The lines are read in the one way in which all `names` are among the listed ones. The label is the position among
    the lines, or the number before the name. A list of ImageNet-1k's wnids in its order gives labels of ImageNet-1k;
    of wnids otherwise, the data set's own; of anything else, labels of which only the user knows what they mean.

    Raises:
        UsageError: the file is unreadable, several ways fit, or a class is listed twice.
        UnlistedError: no way fits. If the list was not `given` but found, the message says so.
    """
    lines = read_class_lines(path)
    readings = list(_readings(lines))
    fitting = [reading for reading in readings if set(names) <= set(reading.names) and not reading.twice]
    if not fitting:
        raise _unfitting(path, lines, readings, names, kind, given=given)
    ways: dict[tuple[int, ...], str] = {}
    for reading in fitting:
        ways.setdefault(tuple(reading.of[name] for name in names), reading.how)
    if len(ways) > 1:
        how = " or ".join(ways.values())
        raise UsageError(f"{path}: unclear, its labels may be {how}; write only the names, one in each line")
    reading = fitting[0]
    classes, space = _space(reading.in_order)
    have = "folders" if kind == "folder" else "rows"
    remark = f"labels are {reading.how} in {path.name}: {len(set(names))} of its {len(lines)} classes have {have}"
    return Labels({name: reading.of[name] for name in names}, classes, space, (remark,))


def labels_by_number(path: Path, values: Sequence[str]) -> Labels:
    """Return the labels of `values` that are whole numbers: the classes of these numbers in a class list."""
    reading = list(_readings(read_class_lines(path)))[-1]  # with the numbers before the names, if there are any
    classes, space = _space(reading.in_order)
    remark = f"labels are numbers of classes in {path.name}: {len(set(values))} of its {len(classes)} classes have rows"
    return Labels({value: int(value) for value in values}, classes, space, (remark,))


def read_class_lines(path: Path) -> list[str]:
    """Return the lines of a class list without comments (``#``) and surrounding blank lines.

    Raises UsageError if it is unreadable, empty, or has a blank line among the names: is that a class?
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; write classes=FILE")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except PermissionError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable text file in UTF-8 ({error})") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if not line.startswith("#")]
    held = [number for number, line in lines if line]
    if not held:
        raise UsageError(f"{path}: names no classes; write {FORMS}")
    blank = next((number for number, line in lines if not line and held[0] < number < held[-1]), None)
    if blank is not None:
        raise UsageError(f"{path}, line {blank}: is blank; remove it, for it is unclear whether it counts as a class")
    return [line for _, line in lines if line]


def _readings(lines: Sequence[str]) -> Iterator[_Reading]:
    places = tuple(range(len(lines)))
    yield _Reading(tuple(lines), places, "the positions of the lines")
    yield _Reading(tuple(line.split()[0] for line in lines), places, "the positions of the first words")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    matched = [match for match in numbered if match is not None]
    labels = tuple(int(match[1]) for match in matched)
    if sorted(labels) == list(places):
        yield _Reading(tuple(match[1] for match in matched), labels, "the numbers")
        yield _Reading(tuple(match[2] for match in matched), labels, "the numbers before the names")
        yield _Reading(tuple(match[2].split()[0] for match in matched), labels, "the numbers before the first words")


def _space(names: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    """Return the class names and the label space of a list of `names`."""
    if not any(WNID.fullmatch(name) for name in names):
        return names, None
    return (imagenet_classes(), IMAGENET) if names == tuple(imagenet_wnids()) else (names, OWN)


def _unfitting(
    path: Path, lines: Sequence[str], readings: Sequence[_Reading], names: Sequence[str], kind: str, *, given: bool
) -> UsageError:
    """Return the error for a list that does not name all classes, for the way of reading that names most."""
    nearest = max(readings, key=lambda reading: len(set(names) & set(reading.names)))
    missing = [name for name in names if name not in set(nearest.names)]
    if not missing:
        return UsageError(f"{path}: names {nearest.twice!r} twice; name each class once")
    matched = [match for line in lines if (match := _NUMBERED.fullmatch(line)) is not None]
    after = {word for match in matched for word in (match[2], match[2].split()[0])}
    if len(matched) == len(lines) and set(names) <= after:
        labels = sorted(int(match[1]) for match in matched)
        return UnlistedError(
            f"{path}: its numbers, from {labels[0]} to {labels[-1]}, are not 0 to {len(lines) - 1}, each once; "
            "correct them, or write only the names in label order"
        )
    hint = "add or remove them" if given else "add or remove them, or rename the file if it is no list of the folders"
    return UnlistedError(f"{path}: does not list the {kind}s {listed(missing)}; {hint} (a class list has {FORMS})")
