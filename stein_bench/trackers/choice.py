"""Which trackers are asked for, ``NAME`` or ``NAME:key=value,…``, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import MappingProxyType
from urllib.parse import urlsplit

from stein_bench.errors import UsageError, unknown_name

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "wandb": ("project", "entity", "mode", "dir"),
        "mlflow": ("uri", "experiment"),
        "tensorboard": ("dir",),
    }
)
"""By tracker, which is also the name of its package and of the extra that installs it, the keys that it takes."""

MODES = ("offline", "online")


@dataclass(frozen=True)
class Tracker:
    """A tracker as given by the user: its name and options."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


def parse_trackers(texts: Iterable[str]) -> tuple[Tracker, ...]:
    """Return the trackers that the values of ``--log`` ask for, in order.

    Raises:
        UsageError: one is unknown, has an unknown key or a value that cannot be, or its package is not installed.
    """
    trackers = tuple(map(_parse, texts))
    for tracker in trackers:
        _check(tracker)
    return trackers


def _parse(text: str) -> Tracker:
    name, colon, rest = text.strip().partition(":")
    if name not in KEYS:
        raise unknown_name("tracker of --log:", name, KEYS)
    if colon and not rest.strip():
        raise UsageError(f"--log {text} ends after the colon. Write for example {name}:{KEYS[name][0]}=….")
    options: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise UsageError(f"--log {text}: {part.strip()!r} is not of the form key=value.")
        if key not in KEYS[name]:
            raise unknown_name(f"key of --log {name}:", key, KEYS[name])
        if key in options:
            raise UsageError(f"--log {text} gives {key!r} twice.")
        options[key] = value
    return Tracker(name, options)


def _check(tracker: Tracker) -> None:
    mode = tracker.options.get("mode", MODES[0])
    if mode not in MODES:
        raise UsageError(f"--log {tracker.name}: mode={mode} is neither {' nor '.join(MODES)}.")
    if _has_password(tracker.options.get("uri", "")):
        raise UsageError(
            "--log mlflow: the report stores its command, so the uri must not hold a password: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )
    if not _installed(tracker.name):
        raise UsageError(
            f"--log {tracker.name} needs a package that is not installed: pip install 'stein-bench[{tracker.name}]'."
        )


def _has_password(uri: str) -> bool:
    try:
        return urlsplit(uri).password is not None
    except ValueError:
        raise UsageError(f"--log mlflow: {uri!r} is not a URI.") from None


def _installed(package: str) -> bool:
    """Return whether a package can be imported; a mere folder of its name, such as that of wandb's runs, cannot."""
    found = find_spec(package)
    return found is not None and found.origin is not None
