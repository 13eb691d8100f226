"""Models that a library or this package names."""

from pathlib import Path

SECTION = "models.md", "Names"


def make(folder: Path) -> None:
    """Nothing is needed: the digits are embedded."""
