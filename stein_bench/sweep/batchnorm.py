"""Which models of a library have BN layers, kept in the cache by the library's version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from stein_bench.cache import cache_folder
from stein_bench.errors import SteinBenchError, UsageError, reason
from stein_bench.files import write_text
from stein_bench.guard import forked_rng
from stein_bench.models.interface import ModelSource
from stein_bench.models.sources import PREFIXES
from stein_bench.normalization.convert import has_batchnorm
from stein_bench.progress import Progress, phase
from stein_bench.reading import MOST_JSON, read_json
from stein_bench.version import __version__


def with_batchnorm(library: str, names: Sequence[str], progress: Progress) -> list[str]:
    """Return those of the models of a `library` that have BN layers.

    Each is built without storage for its weights, which takes a fraction of a second, and only once per version of
    the library. One that cannot be built is left out, with a note.
    """
    path = _cache_file(library)
    known = _known(path)
    missing = [name for name in names if name not in known]
    if missing:
        try:
            with phase(progress, "looking for BN layers", len(missing)):
                for name in missing:
                    known[name] = _has_batchnorm(library, name, progress)
                    progress.advance(1)
        finally:
            _keep(path, known)
    return [name for name in names if known.get(name)]


def _has_batchnorm(library: str, name: str, progress: Progress) -> bool | None:
    """Return whether a model has BN layers; None if it cannot be built."""
    source = PREFIXES[library](name)
    try:
        with torch.device("meta"):
            return has_batchnorm(_built(source))
    except (SteinBenchError, RuntimeError, NotImplementedError):
        pass  # it computes with the values of tensors while it is built
    try:
        return has_batchnorm(_built(source))
    except SteinBenchError as error:
        progress.note(f"{library}:{name} is left out: {reason(error)}")
        return None


def _built(source: ModelSource) -> nn.Module:
    with forked_rng(0):
        return source.build(num_classes=None)


def _cache_file(library: str) -> Path:
    package = {"paper": "stein-bench"}.get(library, library)
    release = __version__ if package == "stein-bench" else version(package)
    return cache_folder() / "models" / f"batchnorm-{library}-{release}-{__version__}.json"


def _known(path: Path) -> dict[str, bool | None]:
    try:
        found = read_json(path, MOST_JSON, "a cache")
    except (OSError, ValueError, UsageError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: has for name, has in found.items() if isinstance(has, bool)}


def _keep(path: Path, known: dict[str, bool | None]) -> None:
    with suppress(OSError):  # without a cache it is found out again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({name: has for name, has in known.items() if has is not None}, sort_keys=True))
