"""`--offline`: nothing is fetched; what is in the caches is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from stein_bench.errors import UsageError


class _Asks(Protocol):
    @property
    def offline(self) -> bool: ...


C = TypeVar("C", bound=_Asks)
P = ParamSpec("P")
R = TypeVar("R")

VARIABLE = "HF_HUB_OFFLINE"
"""Does the same as the option, from the environment; the Hugging Face libraries know it too."""
_SET = frozenset({"1", "ON", "YES", "TRUE"})
LOCAL = ("file:", "data:")


def offline() -> bool:
    """Return whether nothing may be fetched now."""
    return os.environ.get(VARIABLE, "").upper() in _SET


def not_fetched(what: str, how: str) -> UsageError:
    """Return the error for `what` is not in a cache, with `how` to get it: a clause such as ``save URL as FILE``."""
    return UsageError(f"{what}; nothing is fetched under --offline or {VARIABLE}: run once without it, or {how}.")


@contextmanager
def offline_if(asked: bool) -> Iterator[None]:
    """Fetch nothing in the body if asked for, or if the environment says so already.

    The variable is set for the body, so that processes started in it and libraries imported in it keep to it, and
    Python's opener of addresses, with which torch.hub and torchvision fetch, refuses all that are not on this machine.
    """
    if not asked and not offline():
        yield
        return
    from urllib.request import OpenerDirector

    before, opener = os.environ.get(VARIABLE), OpenerDirector.open
    os.environ[VARIABLE] = "1"
    OpenerDirector.open = _refused  # type: ignore[method-assign]
    _tell_library()
    _OPEN.append(opener)
    try:
        yield
    finally:
        _OPEN.pop()
        OpenerDirector.open = opener  # type: ignore[method-assign]
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
        _tell_library()


def keeps_offline(run: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
    """Let what takes a configuration fetch nothing if that says so."""

    @wraps(run)
    def within(config: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with offline_if(config.offline):
            return run(config, *args, **kwargs)

    return within


_OPEN: list[Any] = []
"""Python's own way to open an address, once for every body that runs."""


def _refused(self: Any, fullurl: Any, *args: Any, **kwargs: Any) -> Any:
    url = fullurl if isinstance(fullurl, str) else fullurl.full_url
    if url.startswith(LOCAL):
        return _OPEN[0](self, fullurl, *args, **kwargs)
    raise not_fetched(f"{url} is not in the cache", f"save it where it is looked for{_place(url)}")


def _place(url: str) -> str:
    """Return where torch.hub looks for weights, if torch is in use and the address is that of a file of weights."""
    hub = sys.modules.get("torch.hub")
    name = url.partition("?")[0].rpartition("/")[2]
    return f", {hub.get_dir()}/checkpoints/{name}" if hub is not None and name.endswith((".pth", ".pt")) else ""


def _tell_library() -> None:
    """Let huggingface_hub, which reads the variable when it is imported, know what it says now."""
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = offline()  # type: ignore[attr-defined]
