"""Samples stored as one float32 array in memory, for values that 8 bits do not hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stein_bench.data.arrays import ArrayStore
from stein_bench.data.resize import Resize
from stein_bench.data.stores import ScalingRecord


def divided(stored: np.ndarray, scale: float) -> Tensor:
    """Convert float32 (b, …, C) with values 0 … `scale` to contiguous float32 (b, C, …) in [0, 1]."""
    moved = torch.from_numpy(np.array(np.moveaxis(stored, -1, 1), dtype=np.float32, order="C"))
    # Rounding may have put values a last bit outside.
    return moved.clamp_(0, scale) if scale == 1 else moved.div_(scale).clamp_(0, 1)


@dataclass(frozen=True, eq=False)
class FloatStore(ArrayStore):
    """A `Store` of a float32 array `stored` (n, …, C) with checked values 0 … `scale`."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "decode", partial(divided, scale=self.scale))
        super().__post_init__()

    @property
    def hash_head(self) -> str:
        return f"float32 {self.stored.shape[1:]} divided by {self.scale} {self.resize}\n"

    def scaling_record(self, count: int) -> ScalingRecord:  # noqa: ARG002 - the values were checked before
        """Return how values became values in [0, 1]; none was clipped."""
        return scaling_by(self.scale)


def scaling_by(scale: float) -> ScalingRecord:
    """Return the record of a division by `scale`."""
    return ScalingRecord("none", None, None, 0, 0) if scale == 1 else ScalingRecord("range", 0.0, scale, 0, 0)


def array_store(stored: np.ndarray, resize: Resize | None, scale: float) -> ArrayStore:
    """Return the store of what `pixelvalues.stored_values` returned."""
    return ArrayStore(stored, resize) if stored.dtype == np.uint8 else FloatStore(stored, resize, scale=scale)
