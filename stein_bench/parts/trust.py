"""Code that a file names is run only with `--trust-code`: whoever wrote the file is not who runs the command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stein_bench.errors import UsageError
from stein_bench.parts.brought import split_named
from stein_bench.parts.user_code import is_importable

TRUST = "trust-code"

KINDS: Mapping[str, str] = {
    "model": "model",
    "surrogate": "model",
    "data": "data",
    "bn": "estimator",
    "metric": "metric",
    "attack": "attack",
    "attacks": "attack",
    "adversarial": "attack",
    "corruption": "attack",
    "outcome": "attack",
}
"""Key of a file → the kind of part that its values name, or lists of them."""

PREFIXES: Mapping[str, frozenset[str]] = {
    "model": frozenset({"timm", "torchvision", "hf-hub", "paper", "seghead", "python", "transformers"}),
    "data": frozenset({
        "digits", "hf", "wds", "cifar10", "cifar10-c", "cifar100", "cifar100-c", "cityscapes", "csv", "imagefolder",
        "imagenet-c", "imagenette", "nifti", "npz", "npy", "mnist", "fashion-mnist", "fashionmnist", "kmnist", "svhn",
        "stl10",
    }),
}  # fmt: skip
"""Kind of a part → what stands before the colon of specs that name no code; for other kinds nothing does."""

_PROGRAM = re.compile(r"\s*(hub|jit|pt2):|.*\.pt2$", re.DOTALL)
"""Models that are code: a repository's, TorchScript, and exported programs, in which torch evaluates expressions."""
_FILE = re.compile(r"\.py:")


def names_code(kind: str, spec: str) -> bool:
    """Return whether a `spec` of this `kind` (a value of `KINDS`) names code to import; nothing is imported.

    In doubt it does: what is said of it is then that it needs `--trust-code`, whether or not it could be run.
    """
    home, colon, _ = spec.partition(":")
    if kind in PREFIXES:
        if home in PREFIXES[kind]:
            return False
        if kind == "model" and _PROGRAM.match(spec):
            return True
        names = home.strip().split(".")
        dotted = bool(colon) and all(name.isidentifier() for name in names)
        if dotted and (len(names) > 1 or is_importable(names[0], Path.cwd())):
            return True
    return bool(_FILE.search(spec)) or split_named(spec.strip()) is not None


def check_trusted(kind: str, spec: str, where: str) -> None:
    """Refuse a `spec` that names code, because it is from a file; `where` says which, and under what key.

    Raises:
        UsageError: it does.
    """
    if names_code(kind, spec):
        raise UsageError(
            f"{where} names code, {spec}, which would run with all your rights. Read it, and if you trust it, add "
            f"--{TRUST}."
        )


def check_trusted_keys(content: Mapping[str, Any], file: str) -> None:
    """Refuse what a `file` read as keys and values names as code under any of `KINDS`, at any depth.

    Raises:
        UsageError: a value does; the message names the file and the key.
    """
    for path, kind, spec in _specs(content, ()):
        check_trusted(kind, spec, f"{file}: {path}")


def _specs(value: Any, keys: tuple[str, ...], kind: str | None = None) -> Iterator[tuple[str, str, str]]:
    """Yield the place, the kind and the text of all specs below a value."""
    if isinstance(value, str) and kind is not None:
        yield ".".join(keys), kind, value
    elif isinstance(value, Mapping):
        for key, below in value.items():
            name = str(key).replace("_", "-")
            yield from _specs(below, (*keys, name), KINDS.get(name))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _specs(below, keys, kind)
