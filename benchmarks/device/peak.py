"""The peak memory of the CUDA device during a piece of work."""

from __future__ import annotations

from types import TracebackType

import torch


class Peak:
    """A context manager that measures; on the CPU there is nothing to measure.

    Attributes:
        bytes: the most memory that tensors took at a time, beyond what they took before; None on the CPU.
    """

    def __init__(self, device: str) -> None:
        self._on_cuda = device == "cuda"
        self._before = 0
        self.bytes: int | None = None

    def __enter__(self) -> Peak:
        if self._on_cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_cuda:
            torch.cuda.synchronize()
            self.bytes = torch.cuda.max_memory_allocated() - self._before
