"""Images under common corruptions, kept so that several variants share them: making them takes longer than predictions.

Kept are bytes: the corruptions yield 8-bit images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Key = tuple[str, int, int, int]
"""Label of the corruption, number of the draw, position of the first sample, and number of samples."""

BUDGET = 512 * 2**20
"""Bytes kept at most: a thousand 32×32 images under 75 corruptions take 220 MiB."""


class CorruptedImages:
    """Corrupted images by `Key`, up to a number of bytes; with a `budget` of 0 none are kept."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget
        self._kept: dict[Key, Tensor] = {}

    def get(self, key: Key, make: Callable[[], Tensor]) -> Tensor:
        """Return the images of `key`, in [0, 1] on the CPU: those kept, or those that `make` returns."""
        if key in self._kept:
            return self._kept[key].float() / 255
        made = make()
        if made.numel() <= self._left:
            stored = (made * 255).round().to(torch.uint8)
            if torch.equal(stored.float() / 255, made):  # resized images of an archive are not on the 8-bit grid
                self._kept[key] = stored
                self._left -= stored.numel()
        return made
