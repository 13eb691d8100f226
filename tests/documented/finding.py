"""Every command that a page shows: in blocks of code, in tables and in prose, and in the examples of `--help`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from stein_bench.cli.commands import app

ROOT = Path(__file__).parents[2]
PROGRAM = r"(?:stein-bench|torchrun|python3? -m (?:stein_bench|pip|pytest|benchmarks|tests)\b|pip|pytest)(?=\s)"
COMMAND = re.compile(rf"^(?:\$ |#\s+|- run: )?((?:[A-Z_]+=\S+ )*(?:srun )?{PROGRAM} +\S.*)$", re.DOTALL)
OUTPUT = ("text", "python", "json", "html", "toml", "csv")
"""Languages of blocks that show no commands."""
EITHER = "\x00"
OPERATORS = ("&&", "||", "|", ";", "&", "(", ")")


class Documented(NamedTuple):
    """A command: where it stands (page, heading and line), what is written, and its words as a shell would see them."""

    page: str
    heading: str
    line: int
    text: str
    words: tuple[str, ...]

    @property
    def place(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """What follows `stein-bench`, also under torchrun; None for another program."""
        words = self.words
        if "pip" in words:
            return None  # stein-bench is what it installs
        for start in (("stein-bench",), ("-m", "stein_bench"), ("-m", "--", "stein_bench")):
            for at in range(len(words)):
                if words[at : at + len(start)] == start:
                    return words[at + len(start) :]
        return None


def pages() -> list[Path]:
    """The files that show commands."""
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "action.yml", "examples/README.md")]
    return [*found, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "configs").rglob("*.yaml"))]


def documented() -> list[Documented]:
    """Every command of every page, in order, then those of `--help`."""
    found = [one for path in pages() for one in commands_of(str(path.relative_to(ROOT)), path.read_text("utf-8"))]
    root: Any = typer.main.get_command(app)
    return [*found, *(one for name, text in helps(root, "--help") for one in commands_of(name, text))]


def helps(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """The text of a command and of those below it, each with its name as that of a page."""
    yield name, command.help or ""
    for each, inner in getattr(command, "commands", {}).items():
        yield from helps(inner, f"{each} {name}")


def commands_of(page: str, text: str) -> Iterator[Documented]:
    """The commands of a page of Markdown, or of a YAML file, whose comments and scripts count."""
    for heading, line, written in _written(text, comments=page.endswith((".yaml", ".yml"))):
        for words in simple(written):
            if COMMAND.match(" ".join(words)):
                yield Documented(page, heading, line, written, words)


def _written(text: str, *, comments: bool) -> Iterator[tuple[str, int, str]]:
    """Heading, line and text of everything that begins like a command, continued lines joined."""
    heading, language, lines = "", None, text.splitlines()
    number, paragraph = 0, []
    while number < len(lines):
        start, line = number, lines[number]
        number += 1
        fence = re.match(r"\s*(?:```|~~~)(\w*)", line)
        if comments:
            line = re.sub(r"^(\s*)#", r"\1 ", line)
        elif fence:
            language = fence[1] if language is None else None
        elif language is None and line.startswith("## "):
            heading = line.removeprefix("## ")
        block = language is not None or line.startswith("    ") or comments
        if language in OUTPUT or fence:
            paragraph = []
        elif block and (found := COMMAND.match(line.strip())):
            written = found[1]
            while written.endswith("\\") and number < len(lines):
                written = written.removesuffix("\\") + re.sub(r"^\s*#?", "", lines[number])
                number += 1
            yield heading, start + 1, written
        elif language is None:
            paragraph = [*paragraph, (start + 1, line)] if line.strip() else []
            for at, code in _quoted(paragraph):
                if found := COMMAND.match(code):
                    yield heading, at, found[1]


def _quoted(paragraph: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """What the last line of a paragraph quotes, or ends a quotation of."""
    joined = "\n".join(line for _, line in paragraph)
    last = joined.rpartition("\n")[0]
    for found in re.finditer(r"`([^`]+)`", joined):
        if found.end() > len(last):
            yield paragraph[joined.count("\n", 0, found.start())][0], " ".join(found[1].split())


def simple(text: str) -> Iterator[tuple[str, ...]]:
    """The simple commands of a line of a shell: without operators, comments, redirections and what is set before."""
    text = re.sub(r"\$\{\{ *([\w.]+) *\}\}", r"$\1", text)
    text = re.sub(r"(?<=\w)\|(?=\w)", EITHER, text)  # alternatives such as models|attacks are one word
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();|&>")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # an apostrophe in prose
        return
    for token in [*tokens, ";"]:
        if token in OPERATORS or token.startswith(("#", ">")):
            if words:
                yield tuple(words)
            words = []
            if token.startswith("#"):
                return
        else:
            words.append(token.replace(EITHER, "|"))
