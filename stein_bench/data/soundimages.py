"""What becomes of surveyed images: damaged ones are left out or refused, and what is converted is remarked on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from stein_bench.data.imagefiles import CONVERTED, FileStore, Size, size_text
from stein_bench.data.imagesurvey import Facts, Images, ImageSurvey
from stein_bench.data.paths import listed
from stein_bench.data.stores import Store, TakesNotes
from stein_bench.errors import UsageError

OnDamage = Literal["skip", "refuse"]
ON_DAMAGE: tuple[OnDamage, ...] = ("skip", "refuse")


class ImageStore(Store, Protocol):
    """A store of which a part can be taken."""

    def only(self, indices: Sequence[int]) -> Store:
        """Return a store of the samples at `indices`."""


@dataclass(frozen=True, eq=False)
class SurveyedStore:
    """A `store` whose images are surveyed before their use.

    Attributes:
        on_damage: what becomes of samples with damaged images.
        size: what all images must have, (height, width); None if they are resized.
    """

    store: ImageStore
    survey: ImageSurvey
    on_damage: OnDamage = "skip"
    size: Size | None = None
    in_memory: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.store.shape

    def load(self, indices: Sequence[int]) -> Tensor:
        return self.store.load(indices)

    def update_hash(self, digest: hashlib._Hash, count: int) -> None:
        self.store.update_hash(digest, count)

    def first(self, count: int) -> SurveyedStore:
        """Return a store of the first `count` images, of the same survey."""
        return replace(self, store=self.store.first(count)) if isinstance(self.store, FileStore) else self

    def notes(self, count: int) -> tuple[str, ...]:
        """Return what the store has to say."""
        return self.store.notes(count) if isinstance(self.store, TakesNotes) else ()

    def surveyed(self, count: int) -> Iterator[int]:
        """Read the first `count` images, and yield the number read so far."""
        yield from self.survey.read(count)

    def sound(self, count: int) -> tuple[list[int], tuple[str, ...]]:
        """Return the indices of those of the first `count` samples that are not damaged, and remarks.

        Raises UsageError if some are damaged and that is to be refused, if it is most of them, or if sizes differ.
        """
        images, facts = self.survey.images, self.survey.facts(count)
        damaged = [(found.damaged or images.name(i), found.damage) for i, found in facts.items() if found.damage]
        if damaged and (self.on_damage == "refuse" or 2 * len(damaged) > count):
            raise _refusal(images, damaged, count, self.on_damage)
        self._check_sizes(count)
        kept = [index for index in range(count) if index not in facts or facts[index].damage is None]
        remarks = tuple(_remarks(images, [facts[index] for index in kept if index in facts]))
        if damaged:
            names = listed([name for name, _ in damaged])
            what = f"{len(damaged)} of {count} {images.noun} {_are(damaged)} damaged and left out: {names}"
            remarks = (what, *remarks)
        return kept, remarks

    def kept(self, indices: Sequence[int] | None) -> Store:
        """Return a store of the samples at `indices`, None for all, which is not surveyed again."""
        return self.store if indices is None else self.store.only(indices)

    def _check_sizes(self, count: int) -> None:
        if self.size is None:
            return
        for size, index in self.survey.sizes(count).items():
            if size != self.size:
                found, usual = size_text(size), size_text(self.size)
                raise UsageError(
                    f"{self.survey.images.where(index)}: {found} pixels, and others {usual}; give --image-size"
                )


def on_damage(given: Mapping[str, str], where: str) -> OnDamage:
    """Return the value of the option ``damaged``; UsageError, naming `where`, if it is none."""
    value = given.get("damaged", "skip")
    found = next((known for known in ON_DAMAGE if known == value), None)
    if found is None:
        raise UsageError(f"{where}: damaged={value}; write damaged=skip or damaged=refuse")
    return found


def _refusal(images: Images, damaged: Sequence[tuple[str, str]], count: int, on_damage: OnDamage) -> UsageError:
    (first, reason), *more = damaged
    others = f", {listed([name for name, _ in more])}" if more else ""
    them = "it" if len(damaged) == 1 else "them"
    hint = ", or omit damaged=refuse" if on_damage == "refuse" else ""
    what = f"{len(damaged)} of {count} {images.noun} {_are(damaged)} damaged: {first} ({reason}){others}"
    return UsageError(f"{images.whole}: {what}; repair or remove {them}{hint}")


def _remarks(images: Images, facts: Sequence[Facts]) -> Iterator[str]:
    """Yield what is converted, applied or ignored in the images with these `facts`, counted."""
    modes = Counter(found.mode for found in facts if found.mode not in ("RGB", "I;16"))
    if modes:
        parts = (f"{number} {CONVERTED[mode]} ({mode})" for mode, number in modes.most_common())
        yield f"converted to RGB as by Pillow: {'; '.join(parts)}"
    yield from _about_depth(images.whole, [found for found in facts if found.deep])
    if number := sum(found.turned for found in facts):
        have = _count(number, "image has", "images have")
        done = "applied as by `datasets`" if images.upright else "ignored as in timm and torchvision"
        yield f"{have} an EXIF orientation, which is {done}"
    if number := sum(found.frames for found in facts):
        yield f"{_count(number, 'file has', 'files have')} several frames, of which the first is used"


def _about_depth(whole: str, deep: Sequence[Facts]) -> Iterable[str]:
    if not deep:
        return []
    gray = [found.largest for found in deep if found.mode == "I;16"]
    if gray and max(gray) < 256:
        raise UsageError(
            f"{whole}: its 16-bit gray images have no value above {max(gray)} of 65535 and would be black; convert "
            "them to 8 bits"
        )
    largest = f"; the largest gray value is {max(gray)} of 65535" if gray else ""
    return [
        f"{_count(len(deep), 'image has', 'images have')} 16 bits per channel, of which the high 8 are used{largest}"
    ]


def _are(several: Sequence[object]) -> str:
    return "is" if len(several) == 1 else "are"


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
