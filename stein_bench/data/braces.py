"""Brace patterns of file names, as in WebDataset: ``test-{000..003}.tar``, ``{train,extra}-{0..9}.tar``.

The rules are those of bash and of the package braceexpand, which WebDataset uses: lists ``{a,b}``, ranges ``{1..9}``,
``{09..01}`` (padded with zeros if an end is), ``{a..e}`` and ``{0..9..3}`` (with a step), nested at will; braces with
neither a comma nor a range stay; a backslash takes the meaning of the next character.
"""

from __future__ import annotations

import re
import string
from itertools import product

from stein_bench.errors import UsageError

_NUMBERS = re.compile(r"(-?\d{1,12})\.\.(-?\d{1,12})(?:\.\.-?(\d{1,12}))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.-?(\d{1,12}))?")
MOST = 1_000_000
"""Texts that a pattern may stand for."""
_ALPHABET = string.ascii_uppercase + string.ascii_lowercase


def expand_braces(pattern: str) -> list[str]:
    """Return the texts that `pattern` stands for, in order.

    Raises:
        UsageError: its braces are not balanced, or it stands for more than `MOST` texts.
    """
    try:
        return [_unescaped(text) for text in _expanded(pattern, pattern)]
    except RecursionError:
        raise UsageError(f"{pattern[:60]}…: too many braces in one another.") from None


def outside_braces(text: str, separator: str) -> list[str]:
    """Split `text` at each `separator` that is in no braces, and not behind a backslash."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character in "{}":
            depth += 1 if character == "{" else -1
        elif character == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _expanded(text: str, whole: str) -> list[str]:
    """Expand the first group of braces, and what is behind it."""
    start = _next(text, "{}", 0)
    if start is None:
        return [text]
    end = _closing(text, start, whole)
    group, behind = _group(text[start + 1 : end], whole), _expanded(text[end + 1 :], whole)
    _check_number(len(group) * len(behind), whole)
    return [text[:start] + middle + rest for middle, rest in product(group, behind)]


def _group(inside: str, whole: str) -> list[str]:
    items = outside_braces(inside, ",")
    if len(items) > 1:
        listed = [text for item in items for text in _expanded(item, whole)]
        _check_number(len(listed), whole)
        return listed
    if match := _NUMBERS.fullmatch(inside):
        _check_number(len(_range(int(match[1]), int(match[2]), match[3])), whole)
        return _numbers(match[1], match[2], match[3])
    if match := _LETTERS.fullmatch(inside):
        first, last = _ALPHABET.index(match[1]), _ALPHABET.index(match[2])
        return [_ALPHABET[index] for index in _range(first, last, match[3])]
    return [f"\\{{{text}\\}}" for text in _expanded(inside, whole)]


def _check_number(number: int, whole: str) -> None:
    if number > MOST:
        raise UsageError(f"{whole}: it stands for more than {MOST:,} names.")


def _numbers(first: str, last: str, step: str | None) -> list[str]:
    padded = any(re.match(r"-?0\d", end) for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [str(number).zfill(width) for number in _range(int(first), int(last), step)]


def _range(first: int, last: int, step: str | None) -> range:
    by = int(step or 1) or 1
    return range(first, last + 1, by) if first <= last else range(first, last - 1, -by)


def _closing(text: str, start: int, whole: str) -> int:
    """Return the position of the brace that closes the one at `start`."""
    depth, position = 0, _next(text, "{}", start)
    while position is not None:
        depth += 1 if text[position] == "{" else -1
        if depth < 1:
            break
        position = _next(text, "{}", position + 1)
    if position is None or depth < 0:
        raise UsageError(f"{whole}: the braces are not balanced; write for example test-{{000..003}}.tar")
    return position


def _next(text: str, characters: str, start: int) -> int | None:
    """Return the position of the next of the `characters` that is not behind a backslash."""
    while start < len(text):
        if text[start] == "\\":
            start += 1
        elif text[start] in characters:
            return start
        start += 1
    return None


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
