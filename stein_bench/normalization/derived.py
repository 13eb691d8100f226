"""Shrunk running moments, kept for as long as the running averages they were derived from stay the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stein_bench.normalization.context import runs_plainly

Source = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class DerivedMoments:
    """Shrunk mean and variance, shape ``(C,)``, with what is needed to tell whether they are still right.

    On the CPU that is a copy of the running averages: comparing them costs a few microseconds, and misses no
    change, whichever way it was made. Elsewhere a comparison would wait for the device, so there the very tensors
    are kept, with their version counters and views of their memory (which is not used again while they live).
    """

    settings: Any
    sources: tuple[Tensor | None, ...]
    copies: tuple[Tensor | None, ...]
    versions: tuple[int, ...]
    mean: Tensor
    variance: Tensor

    def still_right(self, settings: Any, sources: tuple[Tensor | None, ...]) -> bool:
        """Return whether deriving them from `sources` under `settings` now would give the same."""
        return settings == self.settings and all(map(self._same, range(len(sources)), sources))

    def _same(self, position: int, source: Tensor | None) -> bool:
        copy = self.copies[position]
        if source is None or copy is None:
            return source is copy
        if source.dtype != copy.dtype or source.device != copy.device:
            return False
        if source.device.type == "cpu":
            return source.shape == copy.shape and torch.equal(source, copy)
        return (
            source is self.sources[position]
            and source._version == self.versions[position]
            and source.data_ptr() == copy.data_ptr()
        )


def may_be_kept(sources: tuple[Tensor | None, ...]) -> bool:
    """Return whether moments derived from these tensors now may be used again later.

    Not so where gradients flow to the sources, and on CUDA for inference tensors, which have no version counter.
    """
    present = [source for source in sources if source is not None]
    if not runs_plainly(*present) or any(source.requires_grad for source in present):
        return False
    return not any(source.is_inference() and source.device.type != "cpu" for source in present)


def remember(settings: Any, sources: tuple[Tensor | None, ...], mean: Tensor, variance: Tensor) -> DerivedMoments:
    """Return `mean` and `variance` with what tells later whether they are still right."""
    on_cpu = all(source is None or source.device.type == "cpu" for source in sources)
    with torch.inference_mode(False):
        copies = tuple(None if s is None else s.detach().clone() if on_cpu else s.detach() for s in sources)
    versions = () if on_cpu else tuple(0 if s is None else s._version for s in sources)
    return DerivedMoments(settings, () if on_cpu else sources, copies, versions, mean, variance)
