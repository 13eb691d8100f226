"""The processes of a run, and what they exchange. Every function is the identity in a single process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed as dist

from stein_bench.errors import RunError, UsageError
from stein_bench.launch import launched

COLLECTIVE = timedelta(minutes=30)
"""Time-out of one exchange. Processes wait for each other before it (`meet`), so it covers the exchange alone."""

T = TypeVar("T")


class _State:
    """What this process knows about the others.

    Attributes:
        alone: how many `alone` blocks are open: within one, this process works for itself.
        wait: waits until all processes have called it as often as this one, or raises if one of them has ended.
        take: returns a number that no other process gets for the same key, from 0 on.
        deals: counts the calls of `dealt`, which all processes make alike.
    """

    alone = 0
    wait: Callable[[], None] | None = None
    take: Callable[[str], int] | None = None
    deals = count()


def world_size() -> int:
    """Return the number of processes that share the work."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Return the rank of this process, 0 for the one that writes and prints."""
    return dist.get_rank() if _together() else 0


def is_main() -> bool:
    """Return whether this is the process that writes and prints."""
    return rank() == 0


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: with CUDA the one of its local rank, which also becomes the current one."""
    if device.type != "cuda" or not launched():
        return device
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        raise UsageError(f"at least {local + 1} processes, but only {torch.cuda.device_count()} CUDA devices.")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes that `torchrun` started, and exchange tensors on `device`; a no-op if there are none."""
    if not launched() or _State.alone:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if _together():
        yield
        return
    with joined():
        yield


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes that `torchrun` started.

    Tensors of the CPU are exchanged by Gloo, those of CUDA devices by NCCL, which is started with the first of them.
    """
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=COLLECTIVE)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Let this process work for itself in the body, as if there were no others."""
    _State.alone += 1
    try:
        yield
    finally:
        _State.alone -= 1


def works_alone() -> bool:
    """Return whether this process works for itself, see `alone`."""
    return _State.alone > 0


def set_store(wait: Callable[[], None] | None, take: Callable[[str], int] | None) -> None:
    """Set what `meet` and `dealt` call; None: an exchange waits by itself, and pieces are dealt in turn."""
    _State.wait, _State.take = wait, take


def own_part(indices: np.ndarray) -> np.ndarray:
    """Return this process's contiguous part of `indices`; the sizes of the parts differ by at most one."""
    return np.array_split(indices, world_size())[rank()]


def dealt(pieces: Sequence[T]) -> Iterator[T]:
    """Return an iterator over this process's part of the `pieces`: each goes to the first process that asks for one.

    Every process must call this with the same pieces.
    """
    if not _together():
        return iter(pieces)
    if _State.take is None:
        return iter(pieces[rank() :: world_size()])
    return _taken(pieces, _State.take, f"dealt/{next(_State.deals)}")


def _taken(pieces: Sequence[T], take: Callable[[str], int], key: str) -> Iterator[T]:
    while (number := take(key)) < len(pieces):
        yield pieces[number]


def sum_over_processes(values: list[float], device: torch.device) -> list[float]:
    """Return each of the `values` summed over all processes; every process must call this."""
    if not _together():
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    with _explained():
        dist.all_reduce(total)
    return [float(value) for value in total]


def meet() -> None:
    """Wait until every process has called this, as long as all of them are alive; see `watch`."""
    if _together() and _State.wait is not None:
        _State.wait()


def wait_for_all() -> None:
    """Block until every process has called this."""
    if _together():
        meet()
        with _explained():
            dist.barrier()


def gathered(value: T) -> list[T] | None:
    """Return the values of all processes, by rank, in the first process, and None in the others.

    Every process must call this. The values are pickled.
    """
    if not _together():
        return [value]
    meet()
    found: list[Any] | None = [None] * world_size() if is_main() else None
    with _explained():
        dist.gather_object(value, found)
    return found


def exchanged(value: T) -> list[T]:
    """Return the values of all processes, by rank, in every process; see `gathered`."""
    if not _together():
        return [value]
    meet()
    found: list[Any] = [None] * world_size()
    with _explained():
        dist.all_gather_object(found, value)
    return found


def from_main(value: T) -> T:
    """Return the value of the first process in every process; see `gathered`."""
    if not _together():
        return value
    meet()
    holder = [value]
    with _explained():
        dist.broadcast_object_list(holder, src=0)
    return holder[0]


@contextmanager
def _explained() -> Iterator[None]:
    """Turn torch's error about an exchange that broke off, mostly since a process has died, into an expected one."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(f"an exchange with the other processes failed: {' '.join(str(error).split())[:200]}") from error


def check_same(values: Mapping[str, Any], hint: str) -> None:
    """Raise the same `UsageError` in every process unless all have equal `values`.

    Args:
        values: what must be equal, by the name that the message uses.
        hint: a sentence on what to do.
    """
    everyone = exchanged((host(), dict(values)))
    names = dict.fromkeys(name for _, found in everyone for name in found)
    for number, (where, found) in enumerate(everyone):
        other = [name for name in names if found.get(name) != everyone[0][1].get(name)]
        if other:
            raise UsageError(f"rank {number} on {where} differs from rank 0 on {everyone[0][0]} in {other[0]}. {hint}")


def host() -> str:
    """Return the name of this machine."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "unknown")


def _together() -> bool:
    return not _State.alone and dist.is_available() and dist.is_initialized()
