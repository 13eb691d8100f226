"""The models of a sweep, each with its settings and the file of its report, all checked by type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stein_bench.config import RunConfig
from stein_bench.sweep.listfile import Entry
from stein_bench.sweep.names import report_names
from stein_bench.sweep.settings import Asked


@dataclass(frozen=True)
class Item:
    """One model of a sweep.

    Attributes:
        name: that of its report, without suffix.
        entry: where it was named, and its own options.
        config: the settings of its evaluation.
    """

    name: str
    entry: Entry
    config: RunConfig

    @property
    def title(self) -> str:
        """What is evaluated, for display."""
        plain = self.entry.name is None and not self.entry.own
        return self.entry.spec if plain else f"{self.entry.spec} ({self.name})"

    @property
    def output(self) -> Path:
        """The file of its report."""
        return Path(str(self.config.output))


def make_items(asked: Asked, entries: Sequence[Entry], folder: Path) -> tuple[Item, ...]:
    """Return the models of a sweep in order.

    Args:
        asked: what the command line and the configuration file ask for.
        entries: without patterns.
        folder: where the reports are written.

    Raises:
        UsageError: a setting or a name is wrong; for those of a list the message names the line.
    """
    asked.config(entries[0], None, own=False)  # what is wrong for all is not put down to a line
    names = report_names(entries)
    return tuple(
        Item(name, entry, asked.config(entry, folder / f"{name}.json"))
        for name, entry in zip(names, entries, strict=True)
    )
