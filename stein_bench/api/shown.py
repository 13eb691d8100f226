"""Documents that print as the command line prints them, in a notebook as well."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from rich.console import Console

from stein_bench.render.console import Terminal

WIDTH = 100
"""Columns of a printed document."""
_PAGE = '<pre style="white-space:pre;overflow-x:auto;line-height:normal;font-family:monospace">{code}</pre>'


class Shown:
    """Mixin: `str` is the table of the command line, a notebook shows the same."""

    @abstractmethod
    def _printed(self, console: Console) -> None:
        """Print the table to `console`."""

    def summary(self) -> str:
        """Return the table with its conclusion and notes as text, as the command line prints it."""
        return _text(self._printed)

    def __str__(self) -> str:
        return self.summary()

    def __rich_repr__(self) -> Any:
        yield repr(self)

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        console = Terminal(file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, legacy_windows=False)
        self._printed(console)
        return console.export_html(inline_styles=True, code_format=_PAGE)


def _text(printed: Callable[[Console], None]) -> str:
    stream = io.StringIO()
    printed(Terminal(file=stream, width=WIDTH, no_color=True, force_terminal=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
