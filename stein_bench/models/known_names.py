"""Names of the models of timm and torchvision, read from their source files: importing the libraries takes seconds."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_REGISTERED = re.compile(r"^@register_model\b.*?^def (\w+)", re.MULTILINE | re.DOTALL)


@cache
def timm_names() -> tuple[str, ...]:
    """Return the names that `timm.list_models` lists, sorted; none if timm's source files cannot be read."""
    return _registered(_sources("timm", "models/*.py"))


@cache
def torchvision_names() -> tuple[str, ...]:
    """Return the names of torchvision's classification and segmentation models; none if they cannot be read."""
    return _registered(_sources("torchvision", "models/*.py") + _sources("torchvision", "models/segmentation/*.py"))


def mentioned(name: str) -> bool:
    """Return whether timm or torchvision may know an architecture of this name, also a deprecated or untested one.

    True also if their sources cannot be read: only a False is a fact.
    """
    sources = _sources("timm", "models/**/*.py"), _sources("torchvision", "models/**/*.py")
    word = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w)")
    return not all(sources) or any(word.search(text) for texts in sources for text in texts)


def _registered(sources: list[str]) -> tuple[str, ...]:
    return tuple(sorted({name for text in sources for name in _REGISTERED.findall(text)}))


@cache
def _sources(package: str, pattern: str) -> list[str]:
    """Return the texts of the source files of a package, which is not imported."""
    found = find_spec(package)
    folders = (found.submodule_search_locations if found is not None else None) or []
    try:
        return [path.read_text(encoding="utf-8") for folder in folders for path in sorted(Path(folder).glob(pattern))]
    except (OSError, UnicodeDecodeError):
        return []
