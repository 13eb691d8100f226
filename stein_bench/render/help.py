"""The text of `--help`: what a command does, two examples on lines of their own, its options in panels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from stein_bench.render.console import Terminal

WIDEST = 100
"""Columns that are used at most: longer lines are hard to read."""
LEFT = 27
"""Columns for names; what does not fit stands on a line of its own."""
_CODE = re.compile(r"`([^`]+)`")
_EXAMPLE = "- "


@dataclass(frozen=True)
class Help:
    """What `--help` shows.

    Attributes:
        usage: how the command is called.
        text: its description: paragraphs, and examples as items of a list; code in backticks.
        panels: titles, each with rows of a name (with its metavar) and what it means.
    """

    usage: str
    text: str
    panels: Sequence[tuple[str, Sequence[tuple[str, str]]]]


def print_help(shown: Help) -> None:
    """Print the help to stdout, in as many columns as there are."""
    console = Terminal()
    console.width = min(console.width, WIDEST)
    console.print()
    console.print(Text.assemble(" Usage: ", (shown.usage, "bold")), soft_wrap=True)
    for block in _blocks(shown.text, console.width):
        console.print()
        for line in block:
            console.print(line, soft_wrap=True)
    console.print()
    inner = console.width - 4
    for title, rows in shown.panels:
        alike = [names for _, names in shown.panels if _has_options(names) == _has_options(rows)]
        left = min(LEFT, max(len(name) for names in alike for name, _ in names))
        lines = [line for name, text in rows for line in _row(name, text, left, inner)]
        console.print(Panel(Group(*lines), title=title, title_align="left", border_style="dim"))


def _blocks(text: str, width: int) -> Iterator[list[Text]]:
    """Yield the paragraphs and lists of a description."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[0].startswith(_EXAMPLE):  # an example is copied, so it must be one line
            yield [Text(f"  {line.removeprefix(_EXAMPLE).strip('`')}", "cyan", no_wrap=True) for line in lines]
        else:
            yield [_marked(f" {line}") for line in wrap(" ".join(lines), width - 2, break_on_hyphens=False)]


def _has_options(rows: Sequence[tuple[str, str]]) -> bool:
    return any(name.startswith("-") for name, _ in rows)


def _row(name: str, text: str, left: int, width: int) -> Iterator[Text]:
    lines = wrap(text, width - left - 2, break_on_hyphens=False) or [""]
    head = Text(name, "bold cyan")
    if len(name) > left:
        yield head
        head = Text()
    for number, line in enumerate(lines):
        first = head if number == 0 else Text()
        yield Text.assemble(first, " " * (left + 2 - len(first)), _marked(line))


def _marked(text: str) -> Text:
    """Return a text whose code is bold instead of in backticks."""
    marked, end = Text(), 0
    for found in _CODE.finditer(text):
        marked.append(text[end : found.start()]).append(found[1], "bold")
        end = found.end()
    return marked.append(text[end:])
