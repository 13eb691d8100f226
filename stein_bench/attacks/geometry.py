"""Geometry of ε-balls and the box [0, 1]: steps, projections, norms and random starts, for inputs (n, C, …)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stein_bench.seeds import derive_seed

TINY = 1e-12
"""Smaller than any relevant length: keeps divisions by the norm of a zero vector finite."""
STEP_DENSITY = 4.0
"""Values that a step in L1 changes, per unit of eps: as many as the budget moves by a quarter of the range each."""


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape one value per sample, (n,), so that it broadcasts over `like` (n, …)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def length(delta: Tensor, norm: str) -> Tensor:
    """Return the ``Linf``, ``L2`` or ``L1`` norm of each perturbation, shape (n,)."""
    flat = delta.flatten(1)
    if norm == "L1":
        return flat.abs().sum(dim=1)
    return flat.abs().amax(dim=1) if norm == "Linf" else flat.norm(dim=1)


def direction(gradient: Tensor, norm: str) -> Tensor:
    """Return the steepest-ascent direction of unit `norm`: the sign, or the gradient over its L2 norm."""
    if norm == "Linf":
        return gradient.sign()
    return gradient / per_sample(length(gradient, norm).clamp_min(TINY), gradient)


def step_direction(gradient: Tensor, points: Tensor, norm: str, eps: float) -> Tensor:
    """Return the direction of unit `norm` of a step from `points` with a budget of eps.

    It is the steepest one but in L1, where that one changes a single value: a step then changes `STEP_DENSITY`·eps of
    them, see `sparse_direction`.
    """
    if norm != "L1":
        return direction(gradient, norm)
    count = min(max(round(STEP_DENSITY * eps), 1), points[0].numel())
    return sparse_direction(gradient, points, count)


def sparse_direction(gradient: Tensor, points: Tensor, count: Tensor | int) -> Tensor:
    """Return the signs of the values of largest gradient over their number: a sparse direction of unit L1 norm.

    Values of `points` that are 0 or 1 already and would leave [0, 1] are passed over. Source: Tramèr and Boneh,
    "Adversarial training and robustness for multiple perturbations" (2019), sparse l1-descent.

    Args:
        gradient: (n, C, …).
        points: where the step starts, of the same shape.
        count: how many values change, for all samples or, rounded, for each (n,); at least one.
    """
    slope, at = gradient.flatten(1), points.flatten(1)
    stuck = ((at <= 0) & (slope < 0)) | ((at >= 1) & (slope > 0))
    slope = slope.masked_fill(stuck, 0.0)
    size = slope.abs()
    if isinstance(count, int):
        least = size.topk(count, dim=1).values[:, -1:]
    else:
        place = count.round().long().clamp(1, size.shape[1]) - 1
        least = size.sort(dim=1, descending=True).values.gather(1, place[:, None])
    signs = torch.where(size >= least, slope.sign(), 0.0)
    return (signs / signs.abs().sum(dim=1, keepdim=True).clamp_min(1)).view_as(gradient)


def project(points: Tensor, center: Tensor, norm: str, eps: float) -> Tensor:
    """Project `points` onto the ball of radius eps around `center`, then clip to [0, 1].

    For Linf and L1 this is the exact projection onto the intersection; for L2 the clipping only shortens.
    """
    if norm == "L1":
        return project_l1(points, center, eps)
    delta = points - center
    if norm == "Linf":
        delta = delta.clamp(-eps, eps)
    else:
        delta = delta * per_sample((eps / length(delta, norm).clamp_min(TINY)).clamp_max(1.0), delta)
    return (center + delta).clamp(0, 1)


def within(points: Tensor, center: Tensor, norm: str, eps: float) -> Tensor:
    """Return which points lie in the ball around `center` up to rounding, boolean (n,).

    Adding a perturbation of exactly eps to pixels rounds by up to 6e-8. Verification grants twice what is granted here.
    """
    return length(points - center, norm) <= eps * (1 + 5e-6) + 5e-7


def project_l1(points: Tensor, center: Tensor, eps: Tensor | float) -> Tensor:
    """Return the nearest points, in L2, of the L1 ball of radius eps around `center` that lie in [0, 1].

    With |δ| the distance of a value from its center and γ the room up to the box, it is min(max(|δ| - λ, 0), γ) from
    its center afterwards, for the smallest λ ≥ 0 that satisfies the budget. The norm falls linearly in λ between the
    breakpoints |δ| - γ and |δ|, so that sorting these finds λ. Source: Croce and Hein, "Mind the box: l1-APGD for
    sparse adversarial attacks on image classifiers" (2021), proposition 2.1.

    All is computed in float64 and rounded towards the center: thousands of roundings to nearest could add up to more
    than verification tolerates.

    Args:
        points: (n, C, …) float32.
        center: clean inputs in [0, 1], of the same shape.
        eps: the radius, of all samples or of each (n,).
    """
    at = center.flatten(1).double()
    delta = points.flatten(1).double() - at
    away, room = delta.abs(), torch.where(delta > 0, 1 - at, at)
    threshold = _threshold(away, room, eps.double().view(-1, 1) if isinstance(eps, Tensor) else eps)
    moved = torch.minimum((away - threshold).clamp_min(0), room)
    wanted = (at + delta.sign() * moved).to(points.dtype)
    too_far = (wanted.double() - at).abs() > moved
    return torch.where(too_far, wanted.nextafter(center.flatten(1)), wanted).clamp(0, 1).view_as(points)


def _threshold(away: Tensor, room: Tensor, eps: Tensor | float) -> Tensor:
    """Return λ of `project_l1` for each sample, (n, 1): 0 where the budget suffices."""
    starts = (away - room).clamp_min(0)  # from here on a value falls with λ, until λ is `away`
    breaks, order = torch.cat([starts, away], dim=1).sort(dim=1)
    falling = torch.where(order < away.shape[1], 1.0, -1.0).to(away.dtype).cumsum(dim=1)
    total = torch.minimum(away, room).sum(dim=1, keepdim=True)
    # norms[k]: the norm at the k-th breakpoint.
    norms = total - torch.cat([torch.zeros_like(total), (falling[:, :-1] * breaks.diff(dim=1)).cumsum(dim=1)], dim=1)
    last = ((norms > eps).sum(dim=1, keepdim=True) - 1).clamp_min(0)  # the last breakpoint above the budget
    beyond = (norms.gather(1, last) - eps) / falling.gather(1, last).clamp_min(1)
    return torch.where(total > eps, breaks.gather(1, last) + beyond, 0.0)


def random_start(
    shape: Sequence[int], seeds: Sequence[int], norm: str, eps: float, restarts: Sequence[int] | int = 0
) -> Tensor:
    """Return one perturbation per seed, uniform in the ball, of `shape` (n, C, …), on the CPU.

    Each sample has its own generator, seeded by the sample's seed and the number of its restart (one for all, or one
    each), so that neither batch size nor order matters. In L2 a normalized Gaussian gives the direction and U^(1/d) the
    radius; in L1 the first d of d + 1 exponential numbers over their sum, with random signs, are the perturbation.
    """
    starts = torch.empty(tuple(shape))
    numbers = [restarts] * len(seeds) if isinstance(restarts, int) else restarts
    for start, seed, restart in zip(starts, seeds, numbers, strict=True):
        generator = torch.Generator().manual_seed(derive_seed(seed, "start", restart))
        if norm == "Linf":
            start.uniform_(-1, 1, generator=generator)
        elif norm == "L1":
            start.exponential_(generator=generator)
            rest = torch.empty(()).exponential_(generator=generator)
            signs = torch.rand(start.shape, generator=generator).sub_(0.5).sign_()
            start.mul_(signs / (start.sum() + rest))
        else:
            start.normal_(generator=generator)
            radius = torch.rand((), generator=generator) ** (1 / start.numel())
            start.mul_(radius / start.norm().clamp_min(TINY))
    return starts * eps
