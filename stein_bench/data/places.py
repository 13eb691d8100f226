"""Where an array is stored, as errors and notes name it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A file, or the array `key` in a file."""

    path: Path
    key: str | None = None

    def __str__(self) -> str:
        """Return the place with its folder, as errors name it."""
        return f"{self.path}" if self.key is None else f"{self.path}: `{self.key}`"

    @property
    def short(self) -> str:
        """The place without its folder, as notes name it."""
        return self.path.name if self.key is None else f"`{self.key}` of {self.path.name}"
