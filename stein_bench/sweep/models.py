"""Patterns of model names, such as ``timm:resnet1*`` or ``timm:*:bn``, and the models that they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from stein_bench.errors import suggestion
from stein_bench.models.paper import PAPER_MODELS
from stein_bench.models.timm_models import timm_model_names
from stein_bench.models.torchvision_models import torchvision_model_names
from stein_bench.models.torchvision_segmentation import torchvision_segmentation_names
from stein_bench.progress import Progress
from stein_bench.sweep.batchnorm import with_batchnorm
from stein_bench.sweep.listfile import Entry
from stein_bench.sweep.settings import is_pattern

WITH_BN = ":bn"
"""At the end of a pattern: only models with BN."""

_LIBRARIES: dict[str, Callable[[str], Sequence[str]]] = {
    "timm": lambda pattern: timm_model_names(tagged="." in pattern),
    "torchvision": lambda _: torchvision_model_names(),
    "paper": lambda _: tuple(PAPER_MODELS),
}
"""Names of the models that patterns are matched with."""


def expand(entries: Sequence[Entry], progress: Progress) -> list[Entry]:
    """Return the entries with every pattern replaced by the models that it stands for, which get its options.

    A model that is named again with the same options is left out.

    Raises:
        UsageError: a pattern matches nothing, is of another kind of model, or comes with a single name.
    """
    found: list[Entry] = []
    known = set()
    for entry in entries:
        for one in _matching(entry, progress) if is_pattern(entry.spec) else [entry]:
            key = (one.spec, repr(sorted(one.own.items())), one.name)
            if key in known:
                progress.note(f"{one.spec} is named more than once: it is evaluated once")
                continue
            known.add(key)
            found.append(one)
    return found


def _matching(entry: Entry, progress: Progress) -> Iterator[Entry]:
    if entry.name is not None:
        raise entry.wrong(f"name={entry.name} is for one model, and {entry.spec} stands for several.")
    library, pattern, wanted = _parts(entry)
    names = _LIBRARIES[library](pattern)
    matching = [name for name in names if fnmatchcase(name, pattern)]
    if not matching and library == "torchvision":
        names = [*names, *torchvision_segmentation_names()]
        matching = [name for name in names if fnmatchcase(name, pattern)]
    if not matching:
        near = suggestion(pattern.replace("*", "").replace("?", ""), names)
        raise entry.wrong(
            f"no model of {library} matches {pattern!r}.{near} `stein-bench list models TEXT` lists those with TEXT."
        )
    if wanted:
        candidates = len(matching)
        matching = with_batchnorm(library, matching, progress)
        if not matching:
            raise entry.wrong(f"none of the {candidates} models that match {pattern!r} has BN layers.")
    matching = sorted(matching, key=_natural)
    progress.note(f"{entry.spec}: {len(matching)} model{'s' if len(matching) > 1 else ''}")
    yield from (replace(entry, spec=f"{library}:{name}") for name in matching)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return the sort key that puts resnet18 before resnet101."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _parts(entry: Entry) -> tuple[str, str, bool]:
    """Return the library of a pattern, the pattern of names, and whether only models with BN are meant."""
    spec = entry.spec.removesuffix(WITH_BN)
    library, colon, pattern = spec.partition(":")
    if not colon:
        library, pattern = "timm", spec
    if library not in _LIBRARIES or "/" in pattern or not pattern:
        kinds = ", ".join(f"{name}:…" for name in _LIBRARIES)
        raise entry.wrong(f"{entry.spec}: patterns are for names of libraries ({kinds}, or timm's names alone).")
    return library, pattern, spec != entry.spec
