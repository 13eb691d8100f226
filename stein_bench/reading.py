"""Files read as text, YAML or JSON, within limits: a small file of a stranger must not take all memory or time."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from stein_bench.errors import UsageError

MIB = 2**20
MOST_YAML = 256 * 2**10
"""Bytes of a YAML file: configurations, batteries, experiments, recipes, policies, front matter; PyYAML is slow."""
MOST_JSON = 16 * MIB
"""Bytes of a small JSON file: descriptions of models, caches, labels."""
MOST_REPORT = 1024 * MIB
"""Bytes of a report and of the documents of `reproduce`, `train` and sweeps."""
MOST_NODES = 100_000
"""Values of a YAML file, those behind aliases counted each time."""
MOST_FRONT_MATTER = 4 * MIB
"""Characters of the front matter of a model card, which grows with every model that is evaluated."""
DEEPEST = 100
"""Levels of lists and mappings within each other, in YAML and JSON."""

_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


def read_bytes(path: str | Path, most: int, what: str) -> bytes:
    """Return the content of a file of at most `most` bytes; see `read_bounded`."""
    with open(os.path.expanduser(path), "rb") as file:  # unlike that of Path it lets unknown users stand
        content = file.read(most + 1)  # not by the size that the system tells: a device has none, and no end
    if len(content) > most:
        raise UsageError(f"{path}: larger than {_size(most)}, the most for {what}.")
    return content


def read_bounded(path: str | Path, most: int, what: str) -> str:
    """Return the text of a UTF-8 file of at most `most` bytes; errors call it `what`.

    Raises:
        UsageError: it is larger.
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path, most, what).decode("utf-8")


def parse_yaml(text: str, *, unique: bool = True, most: int = MOST_YAML) -> Any:
    """Return the content of a YAML text; no tag makes an object.

    Args:
        text: the text.
        unique: whether a key that is given twice is an error; otherwise the last one counts.
        most: characters of the text at most.

    Raises:
        ValueError, yaml.YAMLError: it is not YAML, too large (`most`, `MOST_NODES`), nested too deeply
            (`DEEPEST`), or an alias stands for itself.
    """
    if len(text) > most:
        raise ValueError(f"larger than {_size(most)}")
    loader = yaml.SafeLoader(text)
    try:
        _check_brackets(text)
        root = loader.get_single_node()
        if root is None:
            return None
        if _expanded(root, {}, (), unique) > MOST_NODES:
            raise ValueError(f"more than {MOST_NODES:,} values, those behind aliases counted each time")
        return loader.construct_document(root)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    except (TypeError, AttributeError, LookupError) as error:  # PyYAML's own mistakes: ``!!timestamp x``, ``!!bool x``
        raise ValueError(f"a value that its tag does not fit ({type(error).__name__})") from None
    finally:
        loader.dispose()


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Return the content of a JSON text, without duplicate keys and, if `finite`, without NaN and infinities.

    Raises:
        ValueError: it is not JSON, has such a key or value or a number too long to be one, or is nested too deeply.
    """
    try:
        content = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_number if finite else None,
            parse_float=_finite_float if finite else None,
        )
        _check_depth(content)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    return content


def read_json(path: str | Path, most: int, what: str, *, finite: bool = True) -> Any:
    """Return the content of a JSON file of at most `most` bytes; see `read_bounded` and `parse_json`."""
    return parse_json(read_bounded(path, most, what), finite=finite)


def _expanded(node: yaml.Node, known: dict[int, int], above: tuple[int, ...], unique: bool) -> int:
    """Return the number of values below and with a node, as if every alias were written out."""
    if id(node) in above:
        raise ValueError("an alias stands for what it is part of")
    if len(above) >= DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    if id(node) not in known:
        below: Iterable[yaml.Node] = ()
        if isinstance(node, yaml.MappingNode):
            if unique:
                _check_keys(node)
            below = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            below = node.value
        known[id(node)] = 1 + sum(_expanded(one, known, (*above, id(node)), unique) for one in below)
    return known[id(node)]


def _check_brackets(text: str) -> None:
    """Refuse deep nesting before it is parsed, which would take seconds."""
    if len(re.findall(r"[\[{]", text)) <= DEEPEST:
        return
    deep = 0
    for token in yaml.scan(text):
        deep += isinstance(token, _OPENING)
        deep -= isinstance(token, _CLOSING)
        if deep > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // 2**10} KiB"


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value!r} is given twice")
            seen.add((key.tag, key.value))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)[:80]!r} is given twice")
    return content


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is too large a number")
    return number


def _check_depth(content: Any) -> None:
    """Refuse what is nested more deeply than the rest of the program follows."""
    level = [content]
    for _ in range(DEEPEST + 1):
        level = [
            below
            for one in level
            for below in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(below, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {DEEPEST} levels")
