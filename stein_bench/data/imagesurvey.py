"""Every image is read once before its use: damaged ones are found, and what will be converted is counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Protocol
from warnings import catch_warnings, filterwarnings

import numpy as np
from PIL import Image, ImageFile

from stein_bench.data.ahead import usable_workers
from stein_bench.data.imagefiles import (
    CORRUPT,
    Size,
    check_mode,
    is_16_bit_gray,
    open_image,
    orientation,
    shown_size,
    what_failed,
)
from stein_bench.errors import UsageError

_AHEAD = 4
"""Images for each thread that are handed over ahead, so that their number does not fill the memory."""


@dataclass(frozen=True)
class Facts:
    """What an image turned out to be.

    Attributes:
        mode: Pillow's mode; all 16-bit gray modes are ``I;16``.
        turned: it has an EXIF orientation.
        frames: it has several frames, of which the first is used.
        deep: it has 16 bits per channel; `largest` is the largest value then, if it is gray.
        damage: why it cannot be read.
        damaged: the name of what is damaged, if that is not the image itself, but its label map.
        size: (height, width) of its pixels as they are used; facts that differ only in size are equal.
    """

    mode: str = "RGB"
    turned: bool = False
    frames: bool = False
    deep: bool = False
    largest: int = 0
    damage: str | None = None
    damaged: str | None = None
    size: Size | None = field(default=None, compare=False)


USUAL = Facts()


class Images(Protocol):
    """Images of any source, in data order, that can be looked at one by one."""

    @property
    def whole(self) -> str:
        """How errors call all of them."""

    @property
    def noun(self) -> str:
        """What a number of them is called, such as ``files``."""

    @property
    def upright(self) -> bool:
        """Whether EXIF orientations are applied, not ignored."""

    def name(self, index: int) -> str:
        """Return how notes call an image, beside the name of the data set."""

    def where(self, index: int) -> str:
        """Return how errors call an image."""

    def look(self, index: int) -> Callable[[], Facts]:
        """Return what finds the facts of an image in another thread; UsageError if it cannot be accessed.

        Whatever is not safe in several threads, such as reading from a library's table, is done here.
        """


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """The image files `paths` relative to `root`."""

    root: Path
    paths: Sequence[str]
    noun: ClassVar[str] = "files"
    upright: ClassVar[bool] = False

    @property
    def whole(self) -> str:
        return str(self.root)

    def name(self, index: int) -> str:
        return self.paths[index]

    def where(self, index: int) -> str:
        return str(self.root / self.paths[index])

    def look(self, index: int) -> Callable[[], Facts]:
        return partial(look_at, self.root / self.paths[index], self.where(index))


@dataclass(frozen=True, eq=False)
class ImageSurvey:
    """What `images` turned out to be, found out in their order and as far as asked for."""

    images: Images

    @cached_property
    def _found(self) -> dict[int, Facts]:
        """Index → facts of the images that are not as usual."""
        return {}

    @cached_property
    def _distinct(self) -> dict[Facts, Facts]:
        """The values of `_found`, by themselves."""
        return {}

    @cached_property
    def _sizes(self) -> dict[Size, int]:
        """Size → the first index of an undamaged image with it."""
        return {}

    @cached_property
    def _read(self) -> list[int]:
        """One number: how many images were read."""
        return [0]

    def read(self, count: int) -> Iterator[int]:
        """Read the first `count` images, decoding with several threads, and yield the number read so far.

        Raises UsageError for an image that is not damaged, but of no use: of another mode, or not to be accessed.
        """
        threads = max(1, usable_workers())
        waiting: deque[Future[Facts]] = deque()
        with _strict(), ThreadPoolExecutor(threads) as pool:  # Pillow decodes without Python's lock
            try:
                for index in range(self._read[0], count):
                    for ahead in range(index + len(waiting), min(index + _AHEAD * threads, count)):
                        waiting.append(pool.submit(self.images.look(ahead)))
                    self._keep(index, waiting.popleft().result())
                    yield index + 1
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def facts(self, count: int) -> dict[int, Facts]:
        """Return index → facts of those of the first `count` images that are not as usual."""
        for _ in self.read(count):
            pass
        return {index: facts for index, facts in self._found.items() if index < count}

    def sizes(self, count: int) -> dict[Size, int]:
        """Return size → the first undamaged image of that size, among the first `count`."""
        for _ in self.read(count):
            pass
        return {size: index for size, index in self._sizes.items() if index < count}

    def _keep(self, index: int, facts: Facts) -> None:
        if facts != USUAL:
            self._found[index] = self._distinct.setdefault(facts, facts)  # thousands are equal, such as gray ones
        if facts.size is not None and facts.damage is None:
            self._sizes.setdefault(facts.size, index)
        self._read[0] = index + 1


def look_at(content: Path | bytes, where: str, upright: bool = False) -> Facts:
    """Read an image, a file or its content, to its end, and return what it is; errors call it `where`.

    Its EXIF orientation will be applied if `upright`. Raises UsageError if it is not damaged, but of no use.
    """
    return examined(content, where, partial(_decoded, where, upright))


def examined(content: Path | bytes, where: str, examine: Callable[[Image.Image], Facts]) -> Facts:
    """Return what `examine` finds out about an open image; errors of Pillow mean that it is damaged.

    Raises UsageError for a file that cannot be opened, and for an image of too many pixels.
    """
    if content == b"":
        return Facts(damage="there is no image")
    try:
        with open_image(content) as image:
            return examine(image)
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        raise UsageError(f"{where}: {error}; make it smaller") from error
    except CORRUPT as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the file system, not of Pillow
            raise UsageError(f"{where}: cannot be read ({error.strerror or what_failed(error)})") from error
        return Facts(damage=what_failed(error))


def _decoded(where: str, upright: bool, image: Image.Image) -> Facts:
    """Return the facts of an open image, which is decoded."""
    check_mode(where, image)
    mode, gray, frames, size = image.mode, is_16_bit_gray(image), _has_frames(image), image.size
    deep = gray or ";16" in str(getattr(image, "tile", ""))
    image.draft(None, (1, 1))  # JPEG: all data are read, but no more pixels computed than necessary
    image.load()
    by_pillow = image.format == "TIFF"  # Pillow has turned TIFF files
    width, height = image.size if by_pillow else size
    turned = 1 if by_pillow else orientation(image)
    return replace(
        USUAL, mode="I;16" if gray else mode, turned=turned != 1, frames=frames, deep=deep,
        largest=int(np.asarray(image).max()) if gray else 0,
        size=shown_size((height, width), turned) if upright else (height, width),
    )  # fmt: skip


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
