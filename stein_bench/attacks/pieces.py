"""Batches of independent samples in pieces of few sizes, so that memory stays small and does not grow.

A shrinking active set keeps changing its size. On a CPU every size brings kernels of its own, which are kept, and
tensors of its own: which fragments the heap, so that it grows from batch to batch. (ResNet-20 in batches of 100,
2,000 samples: 1.1 to 1.2 times the peak of 200.) Pieces have few sizes, and what the backward pass keeps is that of
`LARGEST` samples. On a GPU small pieces would leave it idle, and torch's own allocator keeps the memory in order.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

LARGEST = 64
"""Samples in the largest pieces, a power of two."""
WHOLE = 8
"""Fewer samples than that are one piece, whatever their number: they are few in every respect but that of calls."""


def pieces(count: int, device: torch.device) -> Iterator[slice]:
    """Yield the slices in which `count` samples on `device` are worked on: on a CPU powers of two and a rest, else one.

    >>> [part.stop - part.start for part in pieces(103, torch.device("cpu"))]
    [64, 32, 7]
    """
    first, size = 0, LARGEST if device.type == "cpu" else max(count, 1)
    while first < count:
        left = count - first
        while size > left >= WHOLE:
            size //= 2
        yield slice(first, first + min(size, left))
        first += size
