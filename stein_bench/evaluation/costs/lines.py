"""The time of a call that works on a batch: so much per call, and so much per sample."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch


class Line(NamedTuple):
    """Seconds of a call on n samples: call + sample·n."""

    call: float
    sample: float

    def at(self, samples: float, calls: float = 1.0) -> float:
        """Return the seconds of so many `calls`, with so many `samples` in all."""
        return self.call * calls + self.sample * samples

    def times(self, factor: float) -> Line:
        """Return the line of something that takes so many times as long."""
        return Line(self.call * factor, self.sample * factor)

    def plus(self, other: Line) -> Line:
        """Return the line of both one after the other."""
        return Line(self.call + other.call, self.sample + other.sample)


NOTHING = Line(0.0, 0.0)


class Measured(NamedTuple):
    """A line, and how much repeated calls differed: their relative standard deviation."""

    line: Line
    variation: float


def line_through(points: Sequence[tuple[int, float]]) -> Line:
    """Return the line through the times at the smallest and the largest size; it never falls, nor begins below 0.

    Args:
        points: sizes with their seconds; a single one is taken as proportional to its size.
    """
    (small, at_small), (large, at_large) = min(points), max(points)
    if small == large:
        return Line(0.0, at_large / large)
    slope = min(max((at_large - at_small) / (large - small), 0.0), at_large / large)
    return Line(max(at_large - slope * large, 0.0), slope)


def timed(compute: Callable[[int], object], sizes: Sequence[int], device: torch.device, repeats: int = 2) -> Measured:
    """Time `compute`, which gets a number of samples, at each of the `sizes`, after a first call that does not count.

    Returns:
        The line through the middle times at the smallest and the largest size, and the variation at the largest.
    """
    found = {size: [_seconds(compute, size, device) for _ in range(1 + repeats)][1:] for size in dict.fromkeys(sizes)}
    most = found[max(found)]
    variation = statistics.pstdev(most) / max(statistics.fmean(most), 1e-9) if len(most) > 1 else 0.0
    return Measured(line_through([(size, statistics.median(each)) for size, each in found.items()]), variation)


def _seconds(compute: Callable[[int], object], size: int, device: torch.device) -> float:
    started = time.perf_counter()
    compute(size)
    wait(device)
    return time.perf_counter() - started


def wait(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
