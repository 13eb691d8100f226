"""A row of the tables: the arguments, the files that are wrong, and what is said about them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

Content = str | bytes | Callable[[Path], object]
"""What a file holds, or the function that makes it at a path."""


class Row(NamedTuple):
    """One wrong input.

    Attributes:
        arguments: the command line after `stein-bench`, in words as a shell reads them.
        words: parts that must be there, in any order, of the line on stderr; if results are `shown`, of both streams.
        code: the exit code.
        files: those that are made besides the good ones of `good.py`, which they may replace.
        option: the option or argument that is wrong, e.g. ``evaluate --eps``; empty for files and models.
        shown: results are on stdout all the same, as JSON, because they say what is wrong. Otherwise it is empty.
    """

    arguments: str
    words: tuple[str, ...]
    code: int = 2
    files: Mapping[str, Content] = MappingProxyType({})
    option: str = ""
    shown: bool = False

    def split(self) -> list[str]:
        """Return the words of the command line."""
        return shlex.split(self.arguments)

    @property
    def name(self) -> str:
        """The arguments with the files that are made, for the name of the test."""
        return f"{self.arguments} [{', '.join(self.files)}]" if self.files else self.arguments


def wrong(arguments: str, *words: str, code: int = 2, **files: Content) -> Row:
    """Return a row; in the names of files ``__`` stands for a point and ``_0_`` for a slash."""
    return Row(arguments, words, code, {named(name): content for name, content in files.items()})


def named(keyword: str) -> str:
    """Return the name of a file that a keyword of Python stands for."""
    return keyword.replace("_0_", "/").replace("__", ".")
