"""A bare loop of forward and backward passes: the upper limit of what an attack can do."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch

from benchmarks.device.record import Row
from benchmarks.device.scale import Scale
from benchmarks.device.subjects import Prepared, bare_times
from stein_bench.guard import repeatable_backends

ROUNDS = 3


@dataclass(frozen=True)
class Bare:
    """Seconds per sample of a bare loop over full batches that are on the device already: the upper limit.

    Attributes:
        both: forward and backward.
        forward: a forward pass without gradients.
        layout: the memory format of the inputs that was faster.
    """

    both: float
    forward: float
    layout: str

    @classmethod
    def measured(cls, scale: Scale, made: Prepared) -> Bare:
        """Measure it in both memory formats and return the faster one."""
        size = made.subject.batch_size
        batch, found = made.inputs[:size].to(scale.device), []
        formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
        with repeatable_backends():
            for layout, memory_format in formats.items():
                model = made.model.to(memory_format=memory_format)
                placed = batch.contiguous(memory_format=memory_format)
                both, forward = bare_times(model, placed, scale.device, ROUNDS)
                found.append(cls(statistics.median(both) / size, statistics.median(forward) / size, layout))
        made.model.to(memory_format=torch.contiguous_format)
        return min(found, key=lambda bare: bare.both)

    def seconds(self, row: Row) -> float:
        """Return how long it takes for the passes of that run."""
        return row["forward"] * self.forward + row["backward"] * (self.both - self.forward)
