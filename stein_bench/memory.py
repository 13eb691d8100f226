"""Batches that fit into memory: halved after an out-of-memory error, for good; and memory that is given back."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")


_WITHOUT_CLASS = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""In the messages of errors of memory for which torch raises a mere RuntimeError."""


def ran_out(error: BaseException) -> bool:
    """Return whether an error is that memory ran out, on a device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WITHOUT_CLASS)


def give_back() -> None:
    """Have the C library return memory that it holds but nobody uses to the system.

    Each batch leaves a few small arrays of outcomes behind. They come to lie where large ones were freed, which then no
    longer fit, and the process would grow by some 200 MiB over 50,000 small images. Only glibc needs it and has a call.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            return ctypes.CDLL(None).malloc_trim
    return None


class MemoryLimit:
    """The number of samples that fit into memory together, as far as is known.

    Args:
        most: the number to start with, at least 1.
        on_halving: called with the new number when memory has run out.
        fixed: whether the number stays, and running out of memory is an error.

    Attributes:
        most: the largest number of samples to process at once.
    """

    def __init__(self, most: int, on_halving: Callable[[int], None] | None = None, *, fixed: bool = False) -> None:
        self.most = max(most, 1)
        self._on_halving, self._fixed = on_halving, fixed

    def can_halve(self, tried: int) -> bool:
        """Return whether fewer than `tried` samples, which did not fit, may be tried."""
        return tried > 1 and not self._fixed

    def halve(self, tried: int) -> None:
        """Record that `tried` samples, at least 2, do not fit.

        Call it after the handler of the error, which keeps the tensors of the failed computation alive.
        """
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if tried // 2 < self.most:
            self.most = tried // 2
            if self._on_halving is not None:
                self._on_halving(self.most)

    def in_parts(self, count: int, compute: Callable[[slice], T]) -> list[T]:
        """Return the results of `compute` on consecutive ranges of `count` samples, as large as fit.

        If memory runs out, only that range is computed again, in two halves.

        Raises:
            torch.OutOfMemoryError: a single sample does not fit, or the number is fixed.
        """
        results: list[T] = []
        first = 0
        while first < count or not results:
            last = min(first + self.most, count)
            try:
                results.append(compute(slice(first, last)))
                first = last
                continue
            except torch.OutOfMemoryError:
                if not self.can_halve(last - first):
                    raise
            self.halve(last - first)
        return results
