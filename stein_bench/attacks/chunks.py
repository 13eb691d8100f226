"""Splits batches of independent samples into chunks of few sizes, so that memory stays small and does not grow.

A shrinking active set keeps changing its size. On a CPU every size has its own kernels, which are cached, and its own
tensor sizes, which fragments the heap: it grows from batch to batch (ResNet-20 in batches of 100, 2,000 samples: 1.1 to
1.2 times the peak of 200). Chunks have few sizes, and the backward pass stores activations of at most `LARGEST`
samples. A GPU would be underused by small chunks, and torch's caching allocator avoids the fragmentation there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

LARGEST = 64
"""Samples in the largest chunk, a power of two."""
WHOLE = 8
"""Fewer samples than this form one chunk: splitting them would only add calls."""


def chunks(count: int, device: torch.device) -> Iterator[slice]:
    """Yield slices over `count` samples: on a CPU powers of two and a remainder, on other devices a single one.

    >>> [part.stop - part.start for part in chunks(103, torch.device("cpu"))]
    [64, 32, 7]
    """
    first, size = 0, LARGEST if device.type == "cpu" else max(count, 1)
    while first < count:
        left = count - first
        while size > left >= WHOLE:
            size //= 2
        yield slice(first, first + min(size, left))
        first += size
