"""Arguments of a user's callable, ``CALLABLE,key=value,…``: numbers, true, false, none, words, 'text' and [lists]."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stein_bench.errors import UsageError
from stein_bench.specs import parse_number

Argument = None | bool | int | float | str | Sequence["Argument"]

CALL = re.compile(r"[^\W\d]\w*\s*(?:,.*)?", re.DOTALL)
"""A callable's name with or without arguments."""

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None}
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?(?:/\d+)?", re.IGNORECASE)
_LIKE_A_NUMBER = re.compile(r"[+-]?\.?\d|[+-]?(?:inf|nan|infinity)\Z", re.IGNORECASE)
_WORD = re.compile(r"[^'\"\[\]]+")


def parse_call(text: str, spec: str) -> tuple[str, dict[str, Argument]]:
    """Return name and arguments of a call such as ``WideResNet,depth=28,blocks=[2,2]``.

    Commas inside brackets and quotes do not separate. `spec` is the whole spec, for errors. Raises `UsageError` if the
    text does not follow the grammar.
    """
    name, *parts = _split(text, spec)
    arguments: dict[str, Argument] = {}
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value or not key.isidentifier():
            raise UsageError(f"{spec}: {part.strip()!r} is not of the form key=value.")
        if key in arguments:
            raise UsageError(f"{spec} gives {key!r} twice.")
        arguments[key] = _value(value, f"{key} in {spec}")
    return name.strip(), arguments


def written(arguments: Mapping[str, Argument]) -> str:
    """Return ``,key=value,…`` as `parse_call` reads it; empty without arguments."""
    return "".join(f",{key}={_written(value)}" for key, value in arguments.items())


def _split(text: str, what: str) -> list[str]:
    """Split at commas that are not inside brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        if depth < 0:
            break
        parts[-1] += character
    if quote or depth:
        raise UsageError(f"{what}: a {'quote' if quote else 'bracket'} has no counterpart in {text.strip()!r}.")
    return parts


def _value(text: str, what: str) -> Argument:
    if text.startswith("[") and text.endswith("]"):
        inner = text[1:-1].strip()
        return [_value(part.strip(), what) for part in _split(inner, what)] if inner else []
    if text[:1] in ("'", '"') and text.find(text[0], 1) == len(text) - 1:
        return text[1:-1]
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        return parse_number(text, what)
    if not _WORD.fullmatch(text) or _LIKE_A_NUMBER.match(text):
        raise UsageError(
            f"{what}: {text!r} is no value. Write a number, true, false, none, a word, text in quotes "
            "or a list in brackets like [2,2]."
        )
    return text


def _written(value: Argument) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _written_text(value)
    if isinstance(value, int | float):
        return repr(value)
    return f"[{','.join(map(_written, value))}]"


def _written_text(text: str) -> str:
    plain = _WORD.fullmatch(text) and "," not in text and text == text.strip()
    if plain and text.lower() not in _WORDS and not _LIKE_A_NUMBER.match(text):
        return text
    return f'"{text}"' if "'" in text else f"'{text}'"
