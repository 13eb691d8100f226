"""Many texts in one block of bytes: the names of a million files, without a million Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import overload

import numpy as np
from numpy.typing import NDArray

from stein_bench.data.paths import as_text

_UTF8 = ("utf-8", "surrogatepass")
"""File names may hold any bytes, which Python shows as lone surrogates; so encoded, bytes sort as the texts do."""


class _Compared(Sequence[str]):
    """Texts that are equal to any sequence of the same texts."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))


@dataclass(frozen=True, eq=False)
class Texts(_Compared):
    """A sequence of texts, made when they are asked for; slices and selections share the bytes.

    Attributes:
        block: all texts, one after another.
        bounds: text i of the block is its bytes from ``bounds[i]`` to ``bounds[i + 1]``; int64.
        rows: which texts of the block there are, in order; None for all.
    """

    block: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Return the `texts`, which are read once."""
        block, lengths = bytearray(), [0]
        for text in texts:
            encoded = text.encode(*_UTF8)
            block += encoded
            lengths.append(len(encoded))
        return cls(np.frombuffer(bytes(block), np.uint8), np.fromiter(accumulate(lengths), np.int64, len(lengths)))

    def take(self, indices: NDArray[np.int64] | Sequence[int]) -> Texts:
        """Return the texts at `indices`, which are not negative."""
        chosen = np.asarray(indices, np.int64)
        return Texts(self.block, self.bounds, chosen if self.rows is None else self.rows[chosen])

    def readable(self) -> Texts:
        """Return the texts as valid Unicode, see `paths.as_text`."""
        try:
            if not self.block.tobytes().isascii():
                self.block.tobytes().decode("utf-8")
        except UnicodeDecodeError:
            return Texts.of(map(as_text, self))
        return self

    def compact(self) -> Texts:
        """Return the same texts with no others in the block."""
        if self.rows is None:
            return self
        starts, ends = self.bounds[self.rows], self.bounds[self.rows + 1]
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts)])
        block = np.empty(int(bounds[-1]), np.uint8)
        for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            block[bounds[number] : bounds[number + 1]] = self.block[start:end]
        return Texts(block, bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1 if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            part = self.take(np.arange(*index.indices(len(self)), dtype=np.int64))
            return part.compact() if len(part) < len(self) // 2 else part  # lets the whole block go with its owner
        row = range(len(self))[index]
        return self._text(row if self.rows is None else int(self.rows[row]))

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> tuple[object, ...]:
        whole = self.compact()  # another process needs no more
        return Texts, (whole.block, whole.bounds)

    def _text(self, row: int) -> str:
        return self.block[self.bounds[row] : self.bounds[row + 1]].tobytes().decode(*_UTF8)


@dataclass(frozen=True, eq=False)
class Numbered(_Compared):
    """The texts ``head/0000``, ``head/0001``, … from `start` to before `stop`."""

    head: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        places = range(self.start, self.stop)[index]
        if isinstance(places, int):
            return f"{self.head}/{places:04d}"
        if places.step == 1:
            return Numbered(self.head, places.start, max(places.start, places.stop))
        return tuple(f"{self.head}/{place:04d}" for place in places)
