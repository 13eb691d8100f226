"""Natural images for tests of the corruptions."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor


@cache
def photographs(height: int, width: int | None = None, channels: int = 3) -> Tensor:
    """Four pieces of two photographs, (4, channels, height, width) in [0, 1] on the 8-bit grid. Do not change them."""
    size = (width or height, height)
    mode = "RGB" if channels == 3 else "L"
    pieces = [
        Image.fromarray(load_sample_image(name)).crop((left, 0, left + 427, 427)).resize(size, Image.Resampling.BOX)
        for name in ("china.jpg", "flower.jpg")
        for left in (0, 213)
    ]
    arrays = [np.asarray(piece.convert(mode)).reshape(size[1], size[0], channels) for piece in pieces]
    return torch.from_numpy(np.stack(arrays).transpose(0, 3, 1, 2).copy()).float() / 255
