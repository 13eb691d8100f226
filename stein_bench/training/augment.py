"""Random crops and flips, drawn for each sample from its own seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stein_bench.tasks import IGNORE


def augment(
    inputs: Tensor, labels: Tensor, seeds: Sequence[int], *, crop_padding: int, horizontal_flip: bool
) -> tuple[Tensor, Tensor]:
    """Return randomly cropped and flipped samples and their labels, in the same shapes.

    A crop is a window of the sample's size in the sample padded by `crop_padding` zeros on both sides of every spatial
    axis; every second sample on average is flipped along its last axis. Per-pixel labels move with the sample and are
    `IGNORE` outside of it.

    Args:
        inputs: (n, C, *spatial) in [0, 1].
        labels: (n,), or (n, *spatial) for one label per pixel.
        seeds: one per sample, uniformly distributed in [0, 2⁶³).
    """
    if not crop_padding and not horizontal_flip:
        return inputs, labels
    spatial = inputs.shape[2:]
    per_pixel = labels.ndim > 1 and labels.shape[1:] == spatial
    sides = (crop_padding, crop_padding) * len(spatial)
    padded = F.pad(inputs, sides)
    padded_labels = F.pad(labels, sides, value=IGNORE) if per_pixel else labels
    moved, moved_labels = torch.empty_like(inputs), labels.clone()
    for i, seed in enumerate(seeds):
        corner, mirrored = draw(seed, len(spatial), crop_padding, horizontal_flip)
        window = tuple(slice(start, start + size) for start, size in zip(corner, spatial, strict=True))
        moved[i] = _mirrored(padded[i][(slice(None), *window)], mirrored)
        if per_pixel:
            moved_labels[i] = _mirrored(padded_labels[i][window], mirrored)
    return moved, moved_labels


def draw(seed: int, axes: int, crop_padding: int, horizontal_flip: bool) -> tuple[tuple[int, ...], bool]:
    """Return the window's corner in the padded sample and whether it is flipped, as digits of the `seed`.

    The seed has far more bits (63) than a draw needs, so its digits are as uniform as the seed.
    """
    corner = []
    for _ in range(axes):
        seed, start = divmod(seed, 2 * crop_padding + 1)
        corner.append(start)
    return tuple(corner), horizontal_flip and seed % 2 == 1


def _mirrored(values: Tensor, mirrored: bool) -> Tensor:
    return values.flip(-1) if mirrored else values
