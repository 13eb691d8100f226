"""The local Lipschitz constant of a normalization layer under batch statistics: the spectral norm of its Jacobian.

The layer maps all elements of a batch to all normalized elements; distances are Euclidean over the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from stein_bench.normalization.estimators import Count, Estimator, widen
from stein_bench.normalization.functional import batch_moments, elements_per_channel, normalize_batch

TOLERANCE = 1e-4
"""An iteration has converged if the residual of its eigenvector of JᵀJ is at most this share of the eigenvalue."""
MOST_ITERATIONS = 300


@dataclass(frozen=True)
class PowerIteration:
    """The result of one start of the power iteration on JᵀJ.

    Attributes:
        norm: square root of the Rayleigh quotient, a lower bound on the spectral norm of J.
        iterations: number of products with JᵀJ.
        residual: ``‖JᵀJv - λv‖/λ``; some singular value of J differs from `norm` by at most half that share.
        converged: whether `residual` is at most the tolerance.
    """

    norm: float
    iterations: int
    residual: float
    converged: bool


def normalization_map(weight: Tensor | None, estimator: Estimator, eps: float) -> Callable[[Tensor], Tensor]:
    """Return the layer's map of a batch (n, C, ...) under batch statistics, built from differentiable operations.

    β is omitted: it shifts the outputs and changes no derivative.
    """
    return lambda x: normalize_batch(x, weight, None, estimator, eps)[0]


def spectral_norm(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    generator: Generator,
    *,
    tolerance: float = TOLERANCE,
    most: int = MOST_ITERATIONS,
) -> PowerIteration:
    """Iterate ``v ← JᵀJv/‖JᵀJv‖`` from a random v, with J the Jacobian of `function` at `x`.

    All iterations share one graph: Jᵀu is the gradient of uᵀf(x), and as it is linear in u, Jv is the gradient of
    vᵀ(Jᵀu) with respect to u.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
        u = torch.zeros_like(y, requires_grad=True)
        (pulled,) = torch.autograd.grad(y, x, u, create_graph=True)
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
    v = v / v.norm()
    for iteration in range(1, most + 1):
        (pushed,) = torch.autograd.grad(pulled, u, v, retain_graph=True)
        (image,) = torch.autograd.grad(y, x, pushed, retain_graph=True)
        eigenvalue, size = float(pushed.norm()) ** 2, float(image.norm())
        if size == 0:
            return PowerIteration(0.0, iteration, 0.0, True)
        residual = float((image - eigenvalue * v).norm()) / eigenvalue
        if residual <= tolerance:
            break
        v = image / size
    return PowerIteration(eigenvalue**0.5, iteration, residual, residual <= tolerance)


@torch.no_grad()
def reduced_norm(x: Tensor, weight: Tensor | None, estimator: Estimator, eps: float) -> float:
    """Compute the same constant directly, in float64, from a matrix of order 2C.

    Estimates depend on the elements only through m and s, whose derivatives lie, per channel, in the plane spanned by
    the constant vector ``u = 1/√N`` and ``w = (x-m)/√(N·s)``. Within these planes J is that matrix; on everything
    orthogonal to them it multiplies channel c by ``a = γ/√(s'+ε)``.
    """
    mean, variance = (moment.double() for moment in batch_moments(x.double()))
    count = elements_per_channel(x)
    shrunk_mean, shrunk_variance = estimator(mean, variance, count)
    slope = channel_slopes(shrunk_variance, weight, eps)
    if count == 1:  # there is no w, and nothing is orthogonal to u
        derivative = _moments_jacobian(estimator, mean, variance, count)[: mean.numel(), : mean.numel()]
        return float(torch.linalg.matrix_norm(slope.diag() - slope.unsqueeze(1) * derivative, 2))
    matrix = _plane_matrix(mean, variance, shrunk_mean, shrunk_variance, slope, estimator, eps, count)
    within = float(torch.linalg.matrix_norm(matrix, 2))
    return max(within, float(slope.abs().max())) if count > 2 else within


def channel_slopes(variance: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Return ``γ/√(s'+ε)`` of every channel: the derivative if the estimates did not depend on the elements."""
    scale = (widen(variance) + eps).rsqrt()
    return scale if weight is None else scale * weight.to(scale.dtype)


def plain_norm(variance: Tensor, weight: Tensor | None, eps: float, count: int) -> float:
    """Return the constant of plain BN in closed form, the largest over the channels.

    Each channel's Jacobian is ``γ/√(s+ε)·(I - uuᵀ - s/(s+ε)·wwᵀ)``. For N ≥ 3 its norm is ``|γ|/√(s+ε)``; for N = 2
    only w remains, and the norm is that times ε/(s+ε); for N = 1 it is 0.
    """
    slope = channel_slopes(variance.double(), weight, eps).abs()
    if count > 2:
        return float(slope.max())
    return float((slope * (eps / (variance.double() + eps))).max()) if count == 2 else 0.0


def _plane_matrix(
    mean: Tensor,
    variance: Tensor,
    shrunk_mean: Tensor,
    shrunk_variance: Tensor,
    slope: Tensor,
    estimator: Estimator,
    eps: float,
    count: int,
) -> Tensor:
    """Return J in the bases (u of all channels, w of all channels): ``diag(a, a) - out·P·in``, P = ∂(m',s')/∂(m,s)."""
    root = count**0.5
    derivative = _moments_jacobian(estimator, mean, variance, count)
    into = torch.cat([torch.full_like(mean, 1 / root), 2 * variance.sqrt() / root])
    by_variance = slope * root / (2 * (shrunk_variance + eps))
    mean_rows, variance_rows = (derivative * into).chunk(2)
    along_u = (slope * root).unsqueeze(1) * mean_rows
    along_u = along_u + (by_variance * (mean - shrunk_mean)).unsqueeze(1) * variance_rows
    along_w = (by_variance * variance.sqrt()).unsqueeze(1) * variance_rows
    return torch.cat([slope, slope]).diag() - torch.cat([along_u, along_w])


def _moments_jacobian(estimator: Estimator, mean: Tensor, variance: Tensor, count: Count) -> Tensor:
    """Return the Jacobian ∂(m', s')/∂(m, s), shape (2C, 2C)."""

    def both(moments: Tensor) -> Tensor:
        mean, variance = moments.chunk(2)
        return torch.cat(estimator(mean, variance, count))

    jacobian: Tensor = torch.func.jacrev(both, chunk_size=256)(torch.cat([mean, variance]))
    return jacobian
