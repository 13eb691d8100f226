"""Versions of packages, optional extras, and requirements that contradict what is installed."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

from stein_bench.doctor.findings import Line
from stein_bench.version import __version__

FIRST = ("torch", "torchvision", "timm", "numpy")
"""Packages that decide about results; the others follow by name."""
EXTRAS = {
    "torchattacks": ("torchattacks", "attacks of torchattacks, as torchattacks.NAME"),
    "foolbox": ("foolbox", "attacks that are objects of foolbox"),
    "adversarial-library": ("adv_lib", "attacks of adversarial-library"),
    "hf": ("datasets transformers", "data of Hugging Face `datasets`, models of transformers"),
    "pandas": ("pandas", "Report.to_dataframe in Python"),
    "tensorboard": ("tensorboard", "--log tensorboard"),
    "wandb": ("wandb", "--log wandb"),
    "mlflow": ("mlflow", "--log mlflow"),
}
"""Extra → the modules that it brings, and what they are for."""
HARMLESS = {("torchattacks", "requests"): "torchattacks is only imported here, and works with newer ones: ignore it."}
"""Contradictions that are known to have no effect."""


def versions(imported: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the versions of Python, the system and the packages that are needed; `imported` says which cannot be."""
    yield Line("stein-bench", __version__)
    yield Line("python", platform.python_version())
    yield Line("system", f"{platform.system()} {platform.release()} {platform.machine()}")
    needed = sorted({name for name, extra in _declared("stein-bench") if not extra} | set(FIRST))
    for name in sorted(needed, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        found = _version(name)
        error = imported.get(name, {}).get("error", "")
        if found is None and not error and find_spec(_module(name)) is not None:
            found = "unknown version"
        if error or found is None:
            told = f"{found or 'not installed'}{f', cannot be imported: {error}' if error else ''}"
            yield Line(name, told, "broken", f"Install it again: pip install --force-reinstall {name}")
        else:
            yield Line(name, found, "ok")


def extras(imported: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the optional extras; `imported` has what importing their modules gave, as far as it was tried."""
    for extra, (modules, purpose) in EXTRAS.items():
        told, state, advice = [], "ok", ""
        for module in modules.split():
            found, tried = _has(module), imported.get(module, {})
            if not found:
                told.append(f"{module} not installed")
                state, advice = ("info", f"pip install 'stein-bench[{extra}]'") if state == "ok" else (state, advice)
            elif "error" in tried:
                told.append(f"{module} cannot be imported: {tried['error']}")
                state, advice = "problem", f"pip install --force-reinstall 'stein-bench[{extra}]'"
            else:
                told.append(f"{module} {_version(module) or _version(f'{module}-skinny') or _of_library(module)}")
        yield Line(extra, f"{', '.join(told)} ({purpose})", state, advice)  # type: ignore[arg-type]


def conflicts() -> Iterator[Line]:
    """Yield requirements of stein-bench and of the packages that it uses which what is installed does not meet."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        yield Line("requirements", "not checked: `packaging` is not installed")
        return
    waiting, seen, clean = ["stein-bench", *(m for mods, _ in EXTRAS.values() for m in mods.split())], set(), True
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for text in _requirements(name):
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                continue
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            has = _version(wanted.name)
            waiting.append(_plain(wanted.name))
            if has is not None and wanted.specifier.contains(has, prereleases=True):
                continue
            if has is None and name != "stein-bench" and _version(name) is None:
                continue
            clean = False
            harmless = HARMLESS.get((name, _plain(wanted.name)), "") if has is not None else ""
            own = name == "stein-bench"
            yield Line(
                name, f"wants {wanted.name}{wanted.specifier}, has {has or 'none'}",
                "broken" if own else "info" if harmless else "problem",
                harmless or f"pip install '{wanted.name}{wanted.specifier}'",
            )  # fmt: skip
    if clean:
        yield Line("requirements", "all met", "ok")


def _declared(name: str) -> Iterator[tuple[str, bool]]:
    """Yield the names of the packages that one requires, each with whether an extra does."""
    for text in _requirements(name):
        if match := re.match(r"[\w.-]+", text):
            yield _plain(match[0]), "extra ==" in text


def _requirements(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _of_library(module: str) -> str:
    return _version(module.replace("_", "-")) or "installed"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _module(name: str) -> str:
    return {"pyyaml": "yaml", "pillow": "PIL"}.get(name, name.replace("-", "_"))


def _has(module: str) -> bool:
    """Return whether a module is there; a mere folder of its name, such as that of wandb's runs, is none."""
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        return False
    return found is not None and found.origin is not None
