"""The page of the report: every value with its path, type and meaning, from the JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from from_code.markdown import code, kind, prose, table
from stein_bench.report.document import report_schema

INTRODUCTION = """# Report

What `stein-bench evaluate` writes with `--output` and prints with `--format json`: one JSON document. `stein-bench
schema` prints its [JSON Schema](https://json-schema.org/draft/2020-12/schema), from which this page is made. Values
that have nothing to say are left out where a meaning says so. A name in brackets stands for any key of a mapping.

"""


def page() -> str:
    """The page: the document first, then every type in the order in which it is met."""
    schema = report_schema()
    parts = [INTRODUCTION, _section("Report", schema, [""])]
    places = paths(schema)
    parts += [_section(name, schema["$defs"][name], places[name]) for name in places]
    return "".join(parts)


def paths(schema: Mapping[str, Any]) -> dict[str, list[str]]:
    """Type → the paths at which values of it stand, in the order in which they are met."""
    found: dict[str, list[str]] = {}
    waiting = [("", schema)]
    while waiting:
        path, one = waiting.pop(0)
        for name, value in one["properties"].items():
            for suffix, inner in _inner(value):
                place = f"{path}.{name}{suffix}".lstrip(".")
                if inner not in found:
                    waiting.append((place, schema["$defs"][inner]))
                found.setdefault(inner, []).append(place)
    return found


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The types that a schema refers to, with what their paths end in."""
    if "$ref" in schema:
        yield "", schema["$ref"].rpartition("/")[2]
    for one in schema.get("anyOf", ()):
        yield from _inner(one)
    for key, suffix in (("items", "[]"), ("additionalProperties", ".{name}")):
        if isinstance(schema.get(key), dict):
            yield from ((f"{suffix}{rest}", name) for rest, name in _inner(schema[key]))


def _section(name: str, schema: Mapping[str, Any], places: list[str]) -> str:
    where = ", ".join(f"`{place}`" for place in places if place)
    rows = [
        (code(f"{places[0]}.{field}".lstrip(".")), kind(value), prose(value.get("description", "")))
        for field, value in schema["properties"].items()
    ]
    text = "\n\n".join(prose(part) for part in schema.get("description", "").split("\n\n"))
    at = f"At {where}.\n\n" if len(places) > 1 else ""
    return f"## {name}\n\n{text}\n\n{at}{table(('path', 'type', 'meaning'), rows)}"
