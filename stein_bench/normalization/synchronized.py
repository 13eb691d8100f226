"""Moments pooled over the batches of several processes, from the moments of each.

Everything is differentiable to any order; gradients reach the elements of every process.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from stein_bench.distributed import works_alone


def pool_moments(mean: Tensor, variance: Tensor, count: float, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased variance and N over all processes of `group`, given those of each process.

    `mean` and `variance` have shape ``(C,)``; `count` may differ between processes and may be 0. Sums of squares
    are taken about the pooled mean to avoid cancellation. Every process must call this.
    """
    own = torch.full((1,), count, dtype=torch.float64, device=mean.device)
    sums = sum_over(torch.cat([own, mean.double() * count]), group)
    total = sums[0].detach()
    present = total.clamp_min(1)  # every batch may be empty
    pooled_mean = sums[1:] / present
    deviations = count * (variance.double() + (mean.double() - pooled_mean).square())
    pooled_variance = sum_over(deviations, group) / present
    return pooled_mean.to(mean.dtype), pooled_variance.to(variance.dtype), total


def sum_over(values: Tensor, group: Any) -> Tensor:
    """Return the sum of `values` over the processes of `group`, differentiable."""
    from torch.distributed.nn.functional import all_reduce  # missing in builds without distributed support

    return cast(Tensor, all_reduce(values, group=group))  # type: ignore[no-untyped-call]


def group_to_synchronize(group: Any) -> Any | None:
    """Return the process group to pool over (the default one for None), or None if this process is alone."""
    distributed = torch.distributed
    if works_alone() or not (distributed.is_available() and distributed.is_initialized()):
        return None
    if distributed.get_world_size(group) <= 1:
        return None
    return distributed.group.WORLD if group is None else group
