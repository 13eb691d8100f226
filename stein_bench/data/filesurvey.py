"""Every image file is read once before its use: damaged ones are found, and what was converted is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal
from warnings import catch_warnings, filterwarnings

import numpy as np
from PIL import Image, ImageFile

from stein_bench.data.ahead import usable_workers
from stein_bench.data.imagefiles import CONVERTED, CORRUPT, FileStore, check_mode, is_16_bit_gray, turned
from stein_bench.data.paths import listed
from stein_bench.errors import UsageError

OnDamage = Literal["skip", "refuse"]
ON_DAMAGE: tuple[OnDamage, ...] = ("skip", "refuse")

_TOGETHER = 256
"""Files that are handed to the threads at once, so that their number does not fill the memory."""


@dataclass(frozen=True)
class Facts:
    """What a file turned out to be.

    Attributes:
        mode: Pillow's mode; all 16-bit gray modes are ``I;16``.
        turned: it has an EXIF orientation, which is ignored.
        frames: it has several frames, of which the first is used.
        deep: it has 16 bits per channel; `largest` is the largest value then, if it is gray.
        damage: why it cannot be read.
    """

    mode: str = "RGB"
    turned: bool = False
    frames: bool = False
    deep: bool = False
    largest: int = 0
    damage: str | None = None


USUAL = Facts()


@dataclass(frozen=True, eq=False)
class FileSurvey:
    """What the files `paths` relative to `root` turned out to be, found out in their order and as far as asked for."""

    root: Path
    paths: Sequence[str]

    @cached_property
    def _found(self) -> dict[int, Facts]:
        """Index → facts of the files that are not as usual."""
        return {}

    @cached_property
    def _read(self) -> list[int]:
        """One number: how many files were read."""
        return [0]

    def read(self, count: int) -> Iterator[int]:
        """Read the first `count` files with several threads, and yield the number read so far.

        Raises UsageError for a file that is not damaged, but of no use: of another mode, or not to be accessed.
        """
        with _strict(), ThreadPoolExecutor(max(1, usable_workers())) as pool:  # Pillow decodes without Python's lock
            try:
                while (start := self._read[0]) < count:
                    some = [self.root / self.paths[index] for index in range(start, min(start + _TOGETHER, count))]
                    for index, facts in enumerate(pool.map(look_at, some), start):
                        if facts != USUAL:
                            self._found[index] = facts
                        self._read[0] = index + 1
                        yield index + 1
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def facts(self, count: int) -> dict[int, Facts]:
        """Return index → facts of those of the first `count` files that are not as usual."""
        for _ in self.read(count):
            pass
        return {index: facts for index, facts in self._found.items() if index < count}


@dataclass(frozen=True, eq=False)
class SurveyedFiles(FileStore):
    """A `FileStore` whose files are surveyed before their use; `on_damage` says what becomes of damaged ones."""

    survey: FileSurvey = field(kw_only=True)
    on_damage: OnDamage = field(default="skip", kw_only=True)

    def surveyed(self, count: int) -> Iterator[int]:
        """Read the first `count` files, and yield the number read so far."""
        yield from self.survey.read(count)

    def sound(self, count: int) -> tuple[list[int], tuple[str, ...]]:
        """Return the indices of those of the first `count` files that are not damaged, and remarks.

        Raises UsageError if files are damaged and that is to be refused, or if it is most of them.
        """
        facts = self.survey.facts(count)
        damaged = {self.paths[index]: found.damage for index, found in facts.items() if found.damage is not None}
        if damaged and (self.on_damage == "refuse" or 2 * len(damaged) > count):
            raise _refusal(self.root, damaged, count, self.on_damage)
        kept = [index for index in range(count) if index not in facts or facts[index].damage is None]
        remarks = tuple(_remarks(self.root, [facts[index] for index in kept if index in facts]))
        if damaged:
            are = "is" if len(damaged) == 1 else "are"
            remarks = (f"{len(damaged)} of {count} files {are} damaged and left out: {listed(list(damaged))}", *remarks)
        return kept, remarks

    def kept(self, indices: Sequence[int] | None) -> FileStore:
        """Return a store of the files at `indices`, None for all, which is not surveyed again."""
        paths = self.paths if indices is None else tuple(self.paths[index] for index in indices)
        return FileStore(self.root, paths, self.size, self.resize)


def look_at(path: Path) -> Facts:
    """Read a file to its end, and return what it is."""
    try:
        with Image.open(path) as image:
            check_mode(path, image)
            return _decoded(image)
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"{path}: {error}; make it smaller") from error
    except CORRUPT as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.errno is not None:  # of the file system, not of Pillow
            raise UsageError(f"{path}: cannot be read ({error.strerror or reason})") from error
        return Facts(damage=reason.replace(repr(str(path)), "the file"))


def _decoded(image: Image.Image) -> Facts:
    """Return the facts of an open image, which is decoded; Pillow's errors mean that it is damaged."""
    mode, gray, frames = image.mode, is_16_bit_gray(image), _has_frames(image)
    deep = gray or ";16" in str(getattr(image, "tile", ""))
    image.draft(None, (1, 1))  # JPEG: all data are read, but no more pixels computed than necessary
    image.load()
    largest = int(np.asarray(image).max()) if gray else 0
    ignored = image.format != "TIFF" and turned(image)  # Pillow has turned TIFF files
    return replace(USUAL, mode="I;16" if gray else mode, turned=ignored, frames=frames, deep=deep, largest=largest)


def _has_frames(image: Image.Image) -> bool:
    if image.format == "MPO":  # a photo with a preview or a depth map
        return False
    try:
        return int(getattr(image, "n_frames", 1)) > 1
    except CORRUPT:  # a later frame is damaged
        return True


@contextmanager
def _strict() -> Iterator[None]:
    """Decode without Pillow's warnings, and refuse truncated files even if the user's code has Pillow pass them."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    with catch_warnings():
        filterwarnings("ignore", module="PIL")
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def _refusal(root: Path, damaged: Mapping[str, str], count: int, on_damage: OnDamage) -> UsageError:
    first, reason = next(iter(damaged.items()))
    others = "".join(f", {text}" for text in [listed(list(damaged)[1:])] if text)
    are, them = ("is", "it") if len(damaged) == 1 else ("are", "them")
    hint = ", or omit damaged=refuse" if on_damage == "refuse" else ""
    what = f"{len(damaged)} of {count} files {are} damaged: {first} ({reason}){others}"
    return UsageError(f"{root}: {what}; repair or remove {them}{hint}")


def _remarks(root: Path, facts: Sequence[Facts]) -> Iterator[str]:
    """Yield what was converted or ignored in the files with these `facts`, counted."""
    modes = Counter(found.mode for found in facts if found.mode not in ("RGB", "I;16"))
    if modes:
        parts = (f"{number} {CONVERTED[mode]} ({mode})" for mode, number in modes.most_common())
        yield f"converted to RGB as by Pillow: {'; '.join(parts)}"
    yield from _about_depth(root, [found for found in facts if found.deep])
    if number := sum(found.turned for found in facts):
        have = _count(number, "image has", "images have")
        yield f"{have} an EXIF orientation, which is ignored as in timm and torchvision"
    if number := sum(found.frames for found in facts):
        yield f"{_count(number, 'file has', 'files have')} several frames, of which the first is used"


def _about_depth(root: Path, deep: Sequence[Facts]) -> Iterable[str]:
    if not deep:
        return []
    gray = [found.largest for found in deep if found.mode == "I;16"]
    if gray and max(gray) < 256:
        raise UsageError(
            f"{root}: its 16-bit gray images have no value above {max(gray)} of 65535 and would be black; convert them "
            "to 8 bits"
        )
    largest = f"; the largest gray value is {max(gray)} of 65535" if gray else ""
    return [
        f"{_count(len(deep), 'image has', 'images have')} 16 bits per channel, of which the high 8 are used{largest}"
    ]


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
