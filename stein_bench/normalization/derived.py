"""A cache of shrunk running moments, valid while the running averages they were derived from are unchanged.

This code runs in every evaluation of every layer, in addition to a kernel that may take as little as 10 µs, so it is
written to be fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stein_bench.normalization.context import runs_plainly

Sources = tuple[Tensor, Tensor, Tensor]
"""Running mean, running variance and count."""


@dataclass(frozen=True, slots=True)
class DerivedMoments:
    """Shrunk mean and variance, shape ``(C,)``, with what is needed to check whether they are still valid.

    On the CPU the sources are compared by value with `copies`: that takes a few microseconds and detects every
    change, however it was made. On CUDA a comparison would wait for the device. There the copies are views of the
    sources' memory (so that it is not reused while they exist), and the `sources` must be the same tensors in the
    same memory with the same version counters; a write that bypasses the counter, through ``.data`` or by a
    collective operation, goes unnoticed.
    """

    settings: Any
    sources: Sources | None  # None on the CPU
    copies: Sources
    versions: tuple[int, ...]
    mean: Tensor
    variance: Tensor

    def still_right(self, settings: Any, sources: Sources) -> bool:
        """Return whether deriving the moments from `sources` under `settings` now would give the same result."""
        if settings is not self.settings:
            return False
        if self.sources is None:
            mean, variance, count = self.copies
            if sources[0].dtype != mean.dtype or sources[1].dtype != variance.dtype:
                return False
            try:
                same = torch.equal(sources[0], mean) and torch.equal(sources[1], variance)
                return same and torch.equal(sources[2], count)
            except RuntimeError:  # now on another device
                return False
        return all(
            now is then and now._version == version and now.data_ptr() == copy.data_ptr()
            for now, then, version, copy in zip(sources, self.sources, self.versions, self.copies, strict=True)
        )


def may_be_kept(sources: Sources) -> bool:
    """Return whether moments derived from these tensors may be cached.

    False unless `runs_plainly`, and for CUDA inference tensors, which have no version counter.
    """
    mean, variance, count = sources
    if not runs_plainly(mean, variance, count):
        return False
    return mean.is_cpu or not (mean.is_inference() or variance.is_inference() or count.is_inference())


def remember(settings: Any, sources: Sources, mean: Tensor, variance: Tensor) -> DerivedMoments:
    """Return `mean` and `variance` with what is needed to check later whether they are still valid."""
    views = (sources[0].detach(), sources[1].detach(), sources[2].detach())
    if all(source.is_cpu for source in sources):
        copies = (views[0].clone(), views[1].clone(), views[2].clone())
        return DerivedMoments(settings, None, copies, (), mean, variance)
    versions = tuple(source._version for source in sources)
    return DerivedMoments(settings, sources, views, versions, mean, variance)
