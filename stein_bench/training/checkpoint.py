"""Checkpoints of unfinished training runs, kept beside their output for `--resume`."""

from __future__ import annotations

import json
import os
import secrets
import zipfile
from pathlib import Path
from typing import Any

import torch

from stein_bench.arrayfiles import check_archive
from stein_bench.errors import UsageError

SUFFIX = ".partial"
FORMAT = 1


def checkpoint_path(output: str | Path) -> Path:
    """Return the path of the checkpoint for the weights file `output`."""
    return Path(f"{Path(output).expanduser()}{SUFFIX}")


def save_checkpoint(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint atomically: at every moment `path` is a complete checkpoint, the previous or the new one.

    Raises:
        UsageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as stream:
            torch.save({"format": FORMAT, "identity": plain(identity), "state": state}, stream)
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"cannot write the checkpoint {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the state in the checkpoint of the training with this `identity`; only tensors and plain values are read.

    Raises:
        UsageError: it belongs to a different training run (the message names the differences), is damaged, or cannot
            be read.
    """
    try:
        _check_content(path)
        content = torch.load(path, map_location=device, weights_only=True)
        found, state = content["identity"], content["state"]
        readable = content["format"] == FORMAT and isinstance(state, dict)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from None
    except UsageError:
        raise
    except Exception:  # noqa: BLE001  (whatever torch raises for a file that it did not write)
        readable = False
    if not readable:
        raise UsageError(f"{path} is not the checkpoint of an interrupted training run: move it away.") from None
    check_identity(path, found, identity)
    return dict(state)


def _check_content(path: Path) -> None:
    """Raise a `UsageError` if the checksum of a part of the file is wrong, which torch does not look at.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: the file cannot be read, is none of torch, or claims impossible sizes.
    """
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, path.stat().st_size)
        if archive.testzip() is not None:
            raise UsageError(f"the checkpoint {path} is damaged: delete it to start again.")


def check_identity(path: Path, found: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise a `UsageError` that names the differences if `found` is not the `identity` of this training."""
    own = plain(identity)
    if found == own:
        return
    changed = sorted(key for key in own.keys() | found.keys() if found.get(key) != own.get(key))
    raise UsageError(
        f"{path} belongs to a different training run (differs in {', '.join(changed)}): repeat the original command, "
        "choose another output, or delete the file to start again."
    )


def plain(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the identity after a JSON round trip, so that it equals one read from a file."""
    plain: dict[str, Any] = json.loads(json.dumps(identity, sort_keys=True))
    return plain
