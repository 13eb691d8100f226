"""Lists of models: those of the command line, and files with a model and options of its own on each line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stein_bench.config import OPTION_NAMES, RunConfig, hyphenate
from stein_bench.errors import UsageError, unknown_name
from stein_bench.parts.trust import check_trusted_keys
from stein_bench.reading import MOST_JSON, read_bounded

NOT_OF_A_MODEL = frozenset({"model", "output", "resume", "format", "log", "quiet", "trust-code", "offline"})
"""Options of the whole sweep."""
REPEATABLE = ("bn", "stats", "attack")
NAME = "name"
_SWITCHES = frozenset(
    hyphenate(name) for name, info in RunConfig.model_fields.items() if info.annotation in (bool, bool | None)
)
"""Options without a value, as in ``--controls``."""
_OWN = tuple(name for name in OPTION_NAMES if name not in NOT_OF_A_MODEL)


@dataclass(frozen=True)
class Entry:
    """A model of a list, or a pattern of names.

    Attributes:
        spec: the model, as on the command line, or a pattern.
        own: options of this model alone, by name with hyphens.
        name: the name of its report that the user has chosen, or None.
        where: the line of the file, e.g. ``models.txt, line 3``; empty on the command line.
    """

    spec: str
    own: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    where: str = ""

    def wrong(self, message: str) -> UsageError:
        """Return the error with that message, which begins with the line of the file."""
        return UsageError(f"{self.where}: {message}" if self.where else message)


def read_list(path: str, *, trust_code: bool = False) -> list[Entry]:
    """Read a file with one model a line: its spec, then ``key=value`` or ``--key value`` for options of its own.

    Words are separated and quoted as in a shell; ``#`` begins a comment. Values are not typed here.

    Raises:
        UsageError: the file cannot be read, names no model, or a line is wrong or, without `trust_code`, names code;
            the message names file and line.
    """
    try:
        text = read_bounded(path, MOST_JSON, "a list of models").removeprefix("\ufeff")
    except OSError as error:
        raise UsageError(f"cannot read the list of models {path!r}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"the list of models {path!r} is no text in UTF-8.") from None
    found = [_entry(line, f"{path}, line {number}") for number, line in enumerate(text.splitlines(), 1)]
    entries = [entry for entry in found if entry is not None]
    if not entries:
        raise UsageError(f"the list of models {path!r} names no model: write one a line.")
    for entry in [] if trust_code else entries:
        check_trusted_keys({"model": entry.spec, **entry.own}, entry.where)
    return entries


def _entry(line: str, where: str) -> Entry | None:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:  # a quotation without its end
        raise UsageError(f"{where}: {str(error).lower()}.") from None
    if not words:
        return None
    spec, *rest = words
    if spec.startswith("--"):
        raise UsageError(f"{where}: it begins with the option {spec}: name the model first.")
    own: dict[str, Any] = {}
    for key, value in _options(rest, where):
        if key in REPEATABLE:
            own[key] = [*own.get(key, ()), value]
        elif key in own:
            raise UsageError(f"{where}: {key} is given twice.")
        else:
            own[key] = value
    name = own.pop(NAME, None)
    return Entry(spec, own, name, where)


def _options(words: list[str], where: str) -> Iterator[tuple[str, str | bool]]:
    """Yield the options that the words of a line give, by name with hyphens."""
    left = iter(words)
    for word in left:
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals and not word.startswith("--"):
            raise UsageError(f"{where}: {word!r} is neither key=value nor --key value. A list is one word, as in a,b.")
        name = _known(key, where)
        if equals:
            if not value or _denied(key):
                raise UsageError(f"{where}: {word!r} {'takes' if value else 'has'} no value.")
            yield name, value
        elif name in _SWITCHES:
            yield name, not _denied(key)
        else:
            following = next(left, None)
            if following is None:
                raise UsageError(f"{where}: {word} has no value.")
            yield name, following


def _denied(key: str) -> bool:
    """Return whether the key is that of a switch with ``no-`` before it."""
    return hyphenate(key).startswith("no-")


def _known(key: str, where: str) -> str:
    name = hyphenate(key)
    if name.removeprefix("no-") in _SWITCHES:
        return name.removeprefix("no-")
    if name in NOT_OF_A_MODEL:
        raise UsageError(f"{where}: {name} holds for the whole sweep: give it on the command line.")
    if name not in _OWN and name != NAME:
        error = unknown_name("option", key, (*_OWN, NAME), hint=f"Options are those of evaluate, and {NAME}.")
        raise UsageError(f"{where}: {error}")
    return name
