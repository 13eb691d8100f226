"""The kinds of data sets, and what is said of one that there is not. Nothing here imports torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from stein_bench.data.catalog import DATA_SUMMARIES
from stein_bench.data.paths import user_path
from stein_bench.errors import UsageError, unknown_name
from stein_bench.parts.installed import names as installed_names
from stein_bench.parts.trust import names_code

ALIASES = {"fashionmnist": "fashion-mnist"}
"""Another spelling → the listed one."""
KINDS = tuple(name for name in (re.split(r"[:\[]", one)[0] for one in DATA_SUMMARIES) if not name.endswith(".py"))
"""What stands before the colon of a spec."""

_BARE_FILES = {".npz": "npz:{}", ".npy": "npy:{},LABELS.npy", ".csv": "csv:{}", ".tar": "wds:{}"}
"""Suffix of a file given without its kind → what to write."""


def check_kind(spec: str) -> None:
    """Raise the error of `open_data` if a spec can name no data set at all; in doubt that is left to it.

    It takes milliseconds, where importing what reads data takes seconds.
    """
    kind = ALIASES.get(spec.partition(":")[0], spec.partition(":")[0])
    brought = {*installed_names("data"), "python"}
    if kind in KINDS or kind in brought or ".py" in spec or "," in kind or names_code("data", spec):
        return
    raise unknown_data(spec)


def unknown_data(spec: str) -> UsageError:
    """Return the error for a spec of no known kind: the nearest kind, or the one to write before a file or folder."""
    kind = spec.partition(":")[0]
    bare = ":" not in spec or os.path.isfile(user_path(spec))  # not a misspelled kind
    if bare and (how := _BARE_FILES.get(Path(spec).suffix.lower())):
        return UsageError(f"unknown data set {spec!r}: write {how.format(spec)}")
    is_folder = spec != "" and os.path.isdir(user_path(spec))
    hint = f"For a folder write its kind first, e.g. imagefolder:{spec}. " if is_folder else ""
    return unknown_name(
        "data set", kind, [*KINDS, *installed_names("data")], listed=f"{hint}See `stein-bench list data`."
    )
