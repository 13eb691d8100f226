"""The largest amount of memory in use, of the device or of this process."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The peak since the last `reset`.

    On a CUDA device that is what torch allocated there; else the resident set of the process: since the last reset
    where Linux lets a process reset it (``/proc/self/clear_refs``), else since the process began.

    Args:
        device: the model's device.

    Attributes:
        kind: what is measured, in a few words.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.kind = "allocated on the device by torch" if device.type == "cuda" else _kind_of_resident_set()

    def reset(self) -> None:
        """Begin anew."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with suppress(OSError):
                RESET.write_text("5")

    def bytes(self) -> int:
        """Return the peak."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        found = _high_water_mark()
        if found is not None:
            return found
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(most) if sys.platform == "darwin" else int(most) * 1024


def _high_water_mark() -> int | None:
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _kind_of_resident_set() -> str:
    readable: Callable[[], bool] = lambda: _high_water_mark() is not None and _resets()  # noqa: E731
    return "resident set of the process" if readable() else "resident set of the process, since it began"


def _resets() -> bool:
    with suppress(OSError):
        RESET.write_text("5")
        return True
    return False
