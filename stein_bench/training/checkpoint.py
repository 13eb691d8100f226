"""The checkpoint of an unfinished training, kept beside its output so that `--resume` can go on."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import torch

from stein_bench.errors import UsageError

SUFFIX = ".partial"
FORMAT = 1


def checkpoint_path(output: str | Path) -> Path:
    """Return where the checkpoint of the weights `output` lies."""
    return Path(f"{Path(output).expanduser()}{SUFFIX}")


def save_checkpoint(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a checkpoint: the file at `path` is the former one or this, whole, at every moment.

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
    """Return the state in a checkpoint of the training of that `identity`. It is read as tensors and plain values.

    Raises:
        UsageError: it belongs to another training (the message says what differs) or cannot be read.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        found, state = content["identity"], content["state"]
        readable = content["format"] == FORMAT and isinstance(state, dict)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}.") from None
    except Exception:  # noqa: BLE001  (whatever torch says about a file that is none of its own)
        readable = False
    if not readable:
        raise UsageError(f"{path} is no checkpoint of an interrupted training: move it away.") from None
    check_identity(path, found, identity)
    return dict(state)


def check_identity(path: Path, found: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise a `UsageError` that names what differs unless `found` is the `identity` of this training."""
    own = plain(identity)
    if found == own:
        return
    changed = sorted(key for key in own.keys() | found.keys() if found.get(key) != own.get(key))
    raise UsageError(
        f"{path} belongs to another training (differs in {', '.join(changed)}): repeat the first command, "
        "name another output, or delete the file to start again."
    )


def plain(identity: dict[str, Any]) -> dict[str, Any]:
    """Return what JSON makes of it, which compares equal after having been written and read."""
    plain: dict[str, Any] = json.loads(json.dumps(identity, sort_keys=True))
    return plain
