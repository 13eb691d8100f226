"""What makes a sweep: its models and settings, kept in its folder as ``sweep.json``."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stein_bench.config import WITHOUT_EFFECT
from stein_bench.errors import UsageError
from stein_bench.files import write_text
from stein_bench.report.document import read_document
from stein_bench.report.results import Document, Part, is_none
from stein_bench.sweep.items import Item

FILE = "sweep.json"


class SweptModel(Part):
    """A model of a sweep."""

    name: str = Field(description="that of its report")
    model: str
    config_sha256: str = Field(description="over every setting that can affect its results")
    mce_baseline_sha256: str | None = Field(
        default=None, exclude_if=is_none, description="hash of the report that mCE is relative to, if there is one"
    )


class Identity(Document):
    """A sweep, whichever jobs do its parts."""

    sweep: Literal[1]
    settings: dict[str, Any] = Field(description="those of the command line; models may have others of their own")
    models: tuple[SweptModel, ...]


def identity_of(settings: dict[str, Any], items: Sequence[Item]) -> Identity:
    """Return the identity of a sweep of `items`, all of them, under `settings` (those that are common to all)."""
    plain = {key: value for key, value in settings.items() if key not in {*WITHOUT_EFFECT, "model"}}
    return Identity(
        sweep=1,
        settings=json.loads(json.dumps(plain)),
        models=tuple(
            SweptModel(
                name=item.name,
                model=item.entry.spec,
                config_sha256=item.config.sha256(),
                mce_baseline_sha256=_hash(item.config.mce_baseline),
            )
            for item in items
        ),
    )


def _hash(baseline: str | None) -> str | None:
    """Return the hash of the file of an mCE baseline; None if there is none, which is told where it is read."""
    if baseline is None or not Path(baseline).is_file():
        return None
    return hashlib.sha256(Path(baseline).read_bytes()).hexdigest()


def read_identity(folder: Path) -> Identity | None:
    """Return the identity of the sweep whose folder it is, or None if it is that of none.

    Raises:
        UsageError: the file is damaged.
    """
    path = folder / FILE
    return read_document(path, Identity, "sweep") if path.exists() else None


def check_identity(folder: Path, own: Identity) -> bool:
    """Return whether the folder is already that of the sweep with this identity, and not of none.

    Raises:
        UsageError: it is the folder of another sweep.
    """
    found = read_identity(folder)
    if found is not None and found != own:
        raise UsageError(
            f"{folder} is the folder of another sweep ({_differing(found, own)}): name another --output, or repeat the "
            "first command with --resume."
        )
    return found is not None


def write_identity(folder: Path, own: Identity) -> None:
    """Write the file that makes `folder` that of a sweep; of several jobs at once only one does.

    Raises:
        UsageError: a job of another sweep was faster.
    """
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{FILE}.")
    os.close(handle)
    try:
        write_text(temporary, own.to_json())
        try:
            os.link(temporary, folder / FILE)  # unlike a rename, it does not replace what is there
        except FileExistsError:
            check_identity(folder, own)
        except OSError:  # a file system without links
            os.replace(temporary, folder / FILE)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _differing(found: Identity, own: Identity) -> str:
    """Return in a few words how two sweeps differ."""
    changed = [k for k in {**found.settings, **own.settings} if found.settings.get(k) != own.settings.get(k)]
    if changed:
        return f"other settings: {', '.join(changed)}"
    before, now = ({model.name: model for model in one.models} for one in (found, own))
    if len(before) != len(now):
        return f"of {len(before)} models, not {len(now)}"
    different = [name for name in now if now[name] != before.get(name)]
    return f"other models or options of theirs: {', '.join(different[:3])}" if different else "models in another order"
