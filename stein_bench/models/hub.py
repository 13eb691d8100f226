"""Where timm's files of a Hugging Face hub model come from: the hub, its cache, or a folder with the same files."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from stein_bench.offline import offline

PATIENCE = 3.0
"""Seconds to wait for a connection. Without one, huggingface_hub would retry for a minute, for every file."""
FOLDER_ID = "folder/model"
"""The hub id under which timm looks for the files of a folder."""


@contextmanager
def hub_files(folder: Path | None = None) -> Iterator[None]:
    """Let timm find a model's files in `folder`; if None, on the hub or, if that cannot be reached, in its cache.

    Under HF_HUB_OFFLINE it is the cache, too. Files that are not there raise huggingface_hub's
    `LocalEntryNotFoundError`, at once.
    """
    from timm.models import _hub

    original = _hub.hf_hub_download
    if folder is not None:
        _hub.hf_hub_download = functools.partial(_in_folder, folder)
    elif not hub_reachable():
        _hub.hf_hub_download = functools.partial(original, local_files_only=True)
    try:
        yield
    finally:
        _hub.hf_hub_download = original


def hub_reachable() -> bool:
    """Return whether the hub, or the proxy to it, accepts a connection; False under HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return not hub_offline() and _accepts(_way_to(constants.ENDPOINT))


def hub_offline() -> bool:
    """Return whether nothing may be fetched, also by what a program has told huggingface_hub."""
    from huggingface_hub import constants

    return offline() or bool(constants.HF_HUB_OFFLINE)


def not_cached() -> str:
    """Return why files that are not in the hub's cache cannot be had."""
    from huggingface_hub import constants

    return f"{constants.ENDPOINT} cannot be reached, and its files are not in the cache {constants.HF_HUB_CACHE}"


def _way_to(endpoint: str) -> str:
    """Return the address of the proxy for `endpoint`, or `endpoint` itself."""
    parts, proxies = urlsplit(endpoint), getproxies()
    if proxy_bypass(parts.hostname or ""):
        return endpoint
    return proxies.get(parts.scheme) or proxies.get("all") or endpoint


@functools.cache
def _accepts(address: str) -> bool:
    parts = urlsplit(address if "//" in address else f"//{address}")
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=PATIENCE).close()
    except OSError:
        return False
    return True


def _in_folder(folder: Path, repo_id: str, filename: str, **options: Any) -> str:
    """Stand in for `huggingface_hub.hf_hub_download`."""
    from huggingface_hub.utils import LocalEntryNotFoundError

    del repo_id, options
    missing: Callable[[str], Exception] = LocalEntryNotFoundError
    if not (folder / filename).is_file():
        raise missing(f"{folder} has no {filename}")
    return str(folder / filename)
