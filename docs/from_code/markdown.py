"""Pieces of Markdown as Python-Markdown reads them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

SPECIAL = re.compile(r"([\\*_\[\]|<])")


def code(text: object) -> str:
    """Text in backticks; tables of Python-Markdown do not split at a bar in them."""
    return f"`{text}`"


def prose(text: str) -> str:
    """A sentence as it stands: no emphasis, links or cells come from it, except for what is in backticks."""
    parts = re.split(r"(``.+?``|`[^`]+`)", one_line(text))
    return "".join(part if part.startswith("`") else SPECIAL.sub(r"\\\1", part) for part in parts)


def one_line(text: str) -> str:
    """The text with single blanks in place of all white space."""
    return " ".join(text.split())


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; an empty one is left out."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(headers)} |", "|" + "---|" * len(headers), *lines, "\n"]) if lines else ""


def fenced(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```\n\n"


def attributes(docstring: str | None) -> dict[str, str]:
    """Name → meaning, from the section Attributes of a docstring; several names may share a meaning."""
    found: dict[str, str] = {}
    section = inspect.cleandoc(docstring or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    for names, meaning in re.findall(r"^ {4}([a-z_0-9]+(?:, [a-z_0-9]+)*): (.+(?:\n {8,}.+)*)", section, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), one_line(meaning))
    return found


Link = Callable[[str], str]


def kind(schema: Mapping[str, Any], link: Link = str.lower) -> str:
    """What a JSON Schema allows, in words; a type that it refers to is a link to the anchor `link(name)`."""
    return " or ".join(dict.fromkeys(_kinds(schema, link)))


def _kinds(schema: Mapping[str, Any], link: Link) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield f"[{name}](#{link(name)})"
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _kinds(one, link)
    elif "const" in schema:
        yield code(_value(schema["const"]))
    elif "enum" in schema:
        yield ", ".join(code(_value(value)) for value in schema["enum"])
    elif "prefixItems" in schema:
        each = list(dict.fromkeys(kind(one, link) for one in schema["prefixItems"]))
        yield f"list of {len(schema['prefixItems'])}: {', '.join(each)}"
    elif schema.get("type") == "array":
        yield f"list of {kind(schema.get('items', {}), link) or 'values'}"
    elif schema.get("type") == "object":
        of = schema.get("additionalProperties")
        yield f"mapping to {kind(of, link)}" if isinstance(of, dict) and of else "mapping"
    elif "type" in schema:
        yield _plain(schema)


def _plain(schema: Mapping[str, Any]) -> str:
    name = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "ge": "≥", "gt": ">",
             "maximum": "≤", "exclusiveMaximum": "<", "le": "≤", "lt": "<"}  # fmt: skip
    limits = [f"{sign} {_short(schema[key])}" for key, sign in signs.items() if key in schema]
    if schema.get("pattern") == "^[0-9a-f]{64}$":
        return "SHA-256"
    return name[schema["type"]] + (f" ({', '.join(limits)})" if limits else "")


def _short(number: float) -> str:
    exponent = int(number).bit_length() - 1
    return f"2^{exponent}" if number >= 2**31 and number == 2**exponent else f"{number:g}"


def default(schema: Mapping[str, Any]) -> str:
    """The default of a property as YAML would have it; a dash where there is none."""
    if "default" not in schema or schema["default"] is None:
        return "–"
    return code(_value(schema["default"]))


def _value(value: object) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
