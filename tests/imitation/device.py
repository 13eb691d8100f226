"""The record of the imitated device: waits, copies, mixed devices, memory, and errors to be simulated."""

from __future__ import annotations

import linecache
import os
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import stein_bench
from tests.imitation.memory import Ledger, Pinned, out_of_memory

GIB = 2**30
MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
PRODUCT = f"{Path(stein_bench.__file__).parent}{os.sep}"
LIBRARIES = (f"{Path(torch.__file__).parent}{os.sep}", "<")
HERE = f"{Path(__file__).parent}{os.sep}"


class Event(NamedTuple):
    """Something that happened on the device: the line behind it, as ``attacks/active.py:73``, and what it was."""

    where: str
    what: str

    @property
    def source(self) -> str:
        """The text of the line, empty for one outside stein_bench."""
        file, _, number = self.where.rpartition(":")
        return linecache.getline(PRODUCT + file, int(number)).strip() if number.isdigit() else ""


def where() -> str:
    """Return the innermost line of stein_bench that runs, else that of whatever called torch."""
    frame, caller = sys._getframe(1), ""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PRODUCT):
            return f"{name[len(PRODUCT) :]}:{frame.f_lineno}"
        if not caller and not name.startswith(LIBRARIES) and not _is_imitation(name):
            caller = f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return caller


def _is_imitation(name: str) -> bool:
    return name.startswith(HERE) and not os.path.basename(name).startswith("test_")


class Device:
    """What happened on the imitated device, and what shall happen.

    Attributes:
        events: waits of the host for the device, with their causes.
        copies: copies that the host did not wait for.
        mixes: refused operations between tensors of two devices.
        memory: live bytes and their limit.
        pinned: page-locked CPU memory.
        calls: calls of networks (outermost modules with parameters) on tensors of the device.
    """

    def __init__(self, total: int = 8 * GIB) -> None:
        self.events: Counter[Event] = Counter()
        self.copies: Counter[Event] = Counter()
        self.mixes: Counter[Event] = Counter()
        self.memory = Ledger(total)
        self.pinned = Pinned()
        self.calls = 0
        self._unfinished: list[tuple[Tensor, Tensor]] = []
        self._most_samples: int | None = None
        self._failing: frozenset[int] = frozenset()

    @property
    def waits(self) -> Counter[str]:
        """Waits by the line that caused them, as ``attacks/active.py:73``."""
        found: Counter[str] = Counter()
        for event, count in self.events.items():
            found[event.where] += count
        return found

    def waits_in(self, start: str) -> int:
        """Return the number of waits in the files of stein_bench whose path begins so, e.g. ``attacks/``."""
        return sum(count for line, count in self.waits.items() if line.startswith(start))

    def reset(self) -> None:
        """Forget waits, copies, mixes and calls."""
        for record in (self.events, self.copies, self.mixes):
            record.clear()
        self.calls = 0

    def wait(self, what: str) -> None:
        """Count one wait; it finishes all copies."""
        self.events[Event(where(), what)] += 1
        with torch.no_grad():
            for host, value in self._unfinished:
                host.copy_(value)
        self._unfinished.clear()

    def copy(self, what: str) -> None:
        """Count one copy that the host does not wait for."""
        self.copies[Event(where(), what)] += 1

    def finish_later(self, host: Tensor, value: Tensor) -> None:
        """Put wrong values into `host` until the next wait, which puts `value` there."""
        with torch.no_grad():
            host.copy_(_wrong(value))
        self._unfinished.append((host, value.clone()))

    def refuse_mix(self, what: str) -> None:
        """Raise what torch raises for tensors on different devices."""
        self.mixes[Event(where(), what)] += 1
        raise RuntimeError(f"{MIXED} (in {what})")

    def limit_samples(self, most: int | None) -> None:
        """Let every network run out of memory on more than `most` samples; None lifts the limit."""
        self._most_samples = most

    def fail_at(self, *calls: int) -> None:
        """Let the networks' calls with these numbers, counted from 1 and from now, run out of memory."""
        self.calls, self._failing = 0, frozenset(calls)

    def limit_bytes(self, total: int) -> None:
        """Give the device that much memory; what exceeds it raises `torch.OutOfMemoryError`."""
        self.memory.total = total

    def enter_network(self, module: nn.Module, inputs: Tensor) -> None:
        """Note a call of a network.

        Raises:
            torch.OutOfMemoryError: it was asked for.
        """
        self.calls += 1
        if self.calls in self._failing:
            raise out_of_memory(f"Call {self.calls} was chosen to fail.")
        if self._most_samples is not None and len(inputs) > self._most_samples:
            raise out_of_memory(f"{len(inputs)} samples, of which {self._most_samples} fit.")


def _wrong(value: Tensor) -> Tensor:
    if value.dtype == torch.bool:
        return ~value
    return torch.full_like(value, torch.nan) if value.is_floating_point() else torch.full_like(value, -99)


active: Device | None = None
"""The installed device."""


def current() -> Device:
    """Return the installed device.

    Raises:
        RuntimeError: a tensor is used after its device was removed.
    """
    if active is None:
        raise RuntimeError("a tensor of the imitated device is used after the device was removed")
    return active
