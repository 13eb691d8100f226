"""Distributed processes, as started by `torchrun`. Every function is the identity in a single process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import distributed as dist

from stein_bench.errors import UsageError

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that `torchrun` sets."""


def world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """Return the rank of this process, 0 for the one that writes and prints."""
    return dist.get_rank() if _together() else 0


def is_main() -> bool:
    """Return whether this is the process that writes and prints."""
    return rank() == 0


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: with CUDA the one of its local rank."""
    if device.type != "cuda" or not _launched():
        return device
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        raise UsageError(f"at least {local + 1} processes, but only {torch.cuda.device_count()} CUDA devices.")
    return torch.device("cuda", local)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes that `torchrun` started (NCCL on CUDA, else Gloo); a no-op if there are none."""
    if not _launched() or _together():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def own_part(indices: np.ndarray) -> np.ndarray:
    """Return this process's contiguous part of `indices`; the sizes of the parts differ by at most one."""
    return np.array_split(indices, world_size())[rank()]


def sum_over_processes(values: list[float], device: torch.device) -> list[float]:
    """Return each of the `values` summed over all processes; every process must call this."""
    if not _together():
        return values
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return [float(value) for value in total]


def wait_for_all() -> None:
    """Block until every process has called this."""
    if _together():
        dist.barrier()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _launched() -> bool:
    return all(name in os.environ for name in LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1
