"""Downloads by a user's code through torch.hub: what to do if one fails, and none of code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stein_bench.errors import RunError, UsageError, reason
from stein_bench.offline import not_fetched, offline

_ARCHIVE = "/zipball/"
"""In the address of a repository's code, as torch.hub downloads it from GitHub."""


@contextmanager
def explained_downloads(spec: str) -> Iterator[None]:
    """Let a failing download of weights in the body say which file is missing and where it belongs.

    `torch.hub.load_state_dict_from_url` takes a file from ``torch.hub.get_dir()/checkpoints`` if it is there. Raises
    `RunError` for weights that cannot be downloaded, and `UsageError` if a ``hub:`` model asks for more code.
    """
    import torch.hub

    download = torch.hub.download_url_to_file

    def explained(url: str, dst: str, *args: Any, **kwargs: Any) -> None:
        if _ARCHIVE in url and spec.startswith("hub:"):
            raise UsageError(f"{spec} loads further code from {url}; no code is downloaded here: call torch.hub first.")
        if offline():
            raise not_fetched(f"{spec} needs weights that are not in the cache", f"save {url} as {dst}")
        try:
            download(url, dst, *args, **kwargs)
        except (OSError, RuntimeError) as error:  # RuntimeError: the file's hash is wrong
            raise RunError(
                f"{spec} needs weights that cannot be downloaded ({reason(error)}): save {url} as {dst}"
            ) from error

    torch.hub.download_url_to_file = explained
    try:
        yield
    finally:
        torch.hub.download_url_to_file = download
