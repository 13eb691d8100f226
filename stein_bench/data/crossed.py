"""Base images in several cells (such as corruptions and severities): their names, in data order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload


@dataclass(frozen=True)
class Crossed(Sequence[str]):
    """The texts ``cell/name`` of every name in every cell: all cells of the first name, then of the second, and so on.

    They are made when they are asked for: 50,000 images in 75 cells would be millions of texts.
    """

    names: Sequence[str]
    cells: Sequence[str]

    def __len__(self) -> int:
        return len(self.names) * len(self.cells)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        name, cell = divmod(range(len(self))[index], len(self.cells))
        return f"{self.cells[cell]}/{self.names[name]}"
