"""Opening pickles without importing or running anything that they name.

Checkpoints hold data besides tensors: an `argparse.Namespace` (timm's ``args``), NumPy scalars (metrics), paths. Their
names are answered by `stand_ins`, any other is refused.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal

import torch

from stein_bench.models.interface import quiet_library
from stein_bench.models.stand_ins import STAND_INS

NAMED = re.compile(r"GLOBAL (\S+)|``(\S+)``[^`]* must be imported|Can only .* got <class '([^']+)'>")
"""How torch's unpickler names what it does not open."""
FORCED, NOT_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Variables of the environment that decide for every `torch.load`."""
MODULE = {"_parameters", "_buffers", "_modules"}


class RefusedError(Exception):
    """A pickle names a class or function that may not be used; `name` is its full name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def open_saved(stream: IO[bytes]) -> object:
    """Return what `torch.save` has written to `stream`, in its zip or its older format, with tensors on the CPU.

    Raises:
        RefusedError: it holds something that is neither a tensor nor known data.
        OSError, or any exception of torch or pickle: the file is unreadable or damaged.
    """
    try:
        with quiet_library(), torch.serialization.safe_globals(list(STAND_INS.values())):
            # of a stream, since torch decides by the name of a path
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if named := NAMED.search(str(error)):
            raise RefusedError(next(filter(None, named.groups()))) from error
        raise


@contextmanager
def only_tensors_unpickled() -> Iterator[None]:
    """Let every `torch.load` in the body, whatever its caller asks for, open tensors only; restore the environment.

    Anything else raises `pickle.UnpicklingError`.
    """
    before = {name: os.environ.pop(name, None) for name in (FORCED, NOT_FORCED)}
    os.environ[FORCED] = "1"
    try:
        yield
    finally:
        del os.environ[FORCED]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def pickled_module(stream: IO[bytes]) -> Literal["itself", "within"] | None:
    """Return whether a pickle in `stream` is a whole network, or holds one; None if neither. Nothing is run.

    A network is known by the attributes that every `nn.Module` has.
    """
    texts: set[object] = set()
    first = ""
    for name, argument in _operations(stream):
        if "UNICODE" in name:
            texts.add(argument)
        elif name == "STOP" and not texts >= MODULE:  # the older format has small pickles before
            texts, first = set(), ""
        elif name in ("GLOBAL", "STACK_GLOBAL", "EMPTY_DICT", "EMPTY_LIST") and not first:
            first = name
    if not texts >= MODULE:
        return None
    return "itself" if "GLOBAL" in first else "within"


def _operations(stream: IO[bytes]) -> Iterator[tuple[str, object]]:
    """Yield name and argument of every operation of the pickles that `stream` begins with."""
    try:
        while True:
            for operation, argument, _ in pickletools.genops(stream):
                yield operation.name, argument
    except (ValueError, EOFError, UnicodeError):  # the end, or the storages behind the pickles
        return
