"""The YAML at the top of a Markdown file: one block of it replaced, every other character left as it is."""

from __future__ import annotations

import re
from typing import Any

import yaml

from stein_bench.errors import UsageError
from stein_bench.reading import MOST_FRONT_MATTER, parse_yaml

INDEX = "model-index"
"""The key of the block."""

_BETWEEN = re.compile(r"\A(\ufeff?---[ \t]*(\r?\n))(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
"""The opening line, its line end, and what stands before the closing line."""


def mapping_of(text: str) -> dict[str, Any]:
    """Return what the front matter of a text says; empty without one.

    Raises:
        UsageError: it has no end, or is not a YAML mapping.
    """
    found = _BETWEEN.match(text)
    if found is None:
        if re.match(r"\ufeff?---[ \t]*(\r?\n|\Z)", text):
            raise UsageError("its front matter has no closing line of three hyphens.")
        return {}
    return _read(found[3])


def with_block(text: str, block: str) -> str:
    """Return a text whose front matter has `block`, YAML lines of the key `INDEX`, in place of its own or at its end.

    Raises:
        UsageError: the front matter is not written with a key on a line of its own, as in every model card, or other
            keys depend on the block.
    """
    found = _BETWEEN.match(text)
    if found is None:
        end = "\r\n" if "\r\n" in text else "\n"
        mark = "\ufeff" if text.startswith("\ufeff") else ""
        return f"{mark}---{end}{block.replace(chr(10), end)}---{end}{text.removeprefix(mark)}"
    end, inside = found[2], found[3]
    first, last = _place(inside)
    lines = inside.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    new = "".join([*lines[:first], block.replace("\n", end), *lines[last:]])
    if _others(_read(new)) != _others(_read(inside)):
        raise UsageError(f"other parts of its front matter depend on {INDEX}: write that block out first.")
    return f"{found[1]}{new}{text[found.end(3) :]}"


def _read(inside: str) -> dict[str, Any]:
    try:
        content = parse_yaml(inside, unique=False, most=MOST_FRONT_MATTER)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"its front matter is not valid YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"its front matter is a {type(content).__name__}, not names with values.")
    return content


def _others(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != INDEX}


def _place(inside: str) -> tuple[int, int]:
    """Return the first line of the block and the one after its last; the end of the lines if there is no block.

    Comments and empty lines before the next key belong to that.
    """
    lines = inside.splitlines()
    root = yaml.compose(inside, Loader=yaml.SafeLoader)
    if root is None:
        return len(lines), len(lines)
    pairs = root.value
    flow = isinstance(root, yaml.MappingNode) and root.flow_style
    if flow or any(key.start_mark.column for key, _ in pairs):
        raise UsageError("its front matter does not have one key a line.")
    starts = [key.start_mark.line for key, _ in pairs] + [len(lines)]
    places = [number for number, (key, _) in enumerate(pairs) if key.value == INDEX]
    if len(places) > 1:
        raise UsageError(f"its front matter has {INDEX} twice.")
    if not places:
        return len(lines), len(lines)
    first, last = starts[places[0]], starts[places[0] + 1]
    while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].startswith("#")):
        last -= 1
    return first, last
