"""Estimators that other people bring: a function of (mean, variance, count), found by its name and tried once.

This module does not import torch until such an estimator is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stein_bench.errors import RunError, SteinBenchError, UsageError, reason
from stein_bench.parts.brought import Part, find_part, made_part, python_spec
from stein_bench.parts.installed import find_installed

if TYPE_CHECKING:
    from torch import Tensor

KIND = "estimator"
TRIED_CHANNELS = (8, 1)
"""Numbers of channels with which an estimator is tried."""
_COUNTS = (64.0, 1.0, math.inf)
_AGREE = 1e-4
"""Relative difference up to which a hand-written gradient agrees with autograd's, in float64."""


@dataclass(frozen=True)
class OwnEstimator:
    """An estimator that somebody brings.

    Called with sample means and biased sample variances (C,) and the number of elements per channel (a number or a 0-d
    tensor, infinity if unknown), it returns the two estimates (C,). Two are equal if name and source are.

    Attributes:
        spec: how it is named.
        sha256: the hash of its source.
        part: its object.
    """

    spec: str
    sha256: str
    part: Part = field(compare=False, repr=False)

    def __call__(self, mean: Tensor, variance: Tensor, count: Any) -> tuple[Tensor, Tensor]:
        """Return the estimates.

        Raises:
            RunError: the function raises an error.
            UsageError: it returns something else than two tensors of that shape, of floating-point numbers.
        """
        try:
            return self.estimates(mean, variance, count)
        except Exception as error:
            from stein_bench.memory import ran_out

            if ran_out(error) or isinstance(error, SteinBenchError):
                raise
            raise RunError(f"estimator {self.spec} failed: {reason(error)}") from error

    def estimates(self, mean: Tensor, variance: Tensor, count: Any) -> tuple[Tensor, Tensor]:
        """Return the estimates; errors of the function are its own."""
        found = self.part.found(mean, variance, count)
        import torch

        tensors = found if isinstance(found, tuple | list) else ()
        shapes = [one.shape if isinstance(one, torch.Tensor) else None for one in tensors]
        if shapes != [mean.shape, variance.shape]:
            listed = [
                type(one).__name__ if s is None else str(tuple(s)) for one, s in zip(tensors, shapes, strict=True)
            ]
            told = ", ".join(listed) or f"a {type(found).__name__}"
            raise UsageError(
                f"estimator {self.spec} returned {told}; expected mean and variance, each of shape {tuple(mean.shape)}."
            )
        for what, one in zip(("mean", "variance"), tensors, strict=True):
            if not one.is_floating_point():
                raise UsageError(f"estimator {self.spec}: the {what} is of type {one.dtype}, not of floating point.")
        return found[0].to(mean.dtype), found[1].to(mean.dtype)

    @property
    def pull_back(self) -> Callable[..., tuple[Tensor, Tensor]] | None:
        """Its hand-written gradient, the attribute ``pull_back``; None if autograd gives it.

        A function of (mean, variance, count, mean_grad, variance_grad) that returns the gradients of mean and variance.
        """
        return getattr(self.part.found, "pull_back", None)

    def __deepcopy__(self, _: Any) -> OwnEstimator:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.part.origin or self.part.code.imports.first:  # from a package, a file or a module
            return _found_again, (self.spec, self.sha256)
        return _rebuilt, (self.spec, self.sha256, self.part.found)


def find_own(spec: str) -> OwnEstimator | None:
    """Return the estimator that somebody brings under that name, tried; None if nobody does.

    Raises:
        UsageError: it cannot be imported, or it is no estimator.
    """
    found = find_part(KIND, spec)
    if found is None:
        part = find_installed(KIND, spec)
        return None if part is None else _tried(part)
    if found[1]:
        raise UsageError(f"estimator {spec!r}: an estimator of your own takes no arguments; write {found[0].spec}.")
    return _tried(found[0])


def own_estimator(function: Callable[..., Any]) -> OwnEstimator:
    """Return a Python function as an estimator, tried.

    Raises:
        UsageError: it is no estimator.
    """
    return _tried(made_part(KIND, function, python_spec(function)))


def _found_again(spec: str, sha256: str) -> OwnEstimator:
    """Return the estimator of a stored layer, found by its name in this process."""
    own = find_own(spec)
    if own is None or own.sha256 != sha256:
        told = "is not to be found here" if own is None else "has been edited since"
        raise UsageError(f"estimator {spec} of the stored layers {told}.")
    return own


def _rebuilt(spec: str, sha256: str, function: Callable[..., Any]) -> OwnEstimator:
    return OwnEstimator(spec, sha256, made_part(KIND, function, spec))


_TRIED: dict[str, OwnEstimator] = {}
"""Estimators that have been tried, by spec: they are looked up many times in a run."""


def _tried(part: Part) -> OwnEstimator:
    """Return the estimator after a trial: shapes, finite values, no negative variance, and its gradients."""
    import torch

    known = _TRIED.get(part.spec)
    if known is not None and known.sha256 == part.sha256 and known.part.found is part.found:
        return known
    own = OwnEstimator(part.spec, part.sha256, part)
    if not callable(part.found):
        raise UsageError(f"estimator {part.spec} is no function of (mean, variance, count).")
    generator = torch.Generator().manual_seed(0)
    for channels in TRIED_CHANNELS:
        mean = torch.randn(channels, generator=generator, dtype=torch.float64)
        variance = torch.rand(channels, generator=generator, dtype=torch.float64) + 0.5
        for count in (*_COUNTS, torch.tensor(64.0, dtype=torch.float64)):
            _check(own, mean.requires_grad_(), variance.requires_grad_(), count, generator)
    _TRIED[part.spec] = own
    return own


def _check(own: OwnEstimator, mean: Tensor, variance: Tensor, count: Any, generator: Any) -> None:
    import torch

    with torch.enable_grad(), own.part.running(f"estimator {own.spec}"):
        found = own.estimates(mean, variance, count)
    given_ = f"with {len(mean)} channels and count {float(count):g}"
    for what, values in zip(("mean", "variance"), found, strict=True):
        if not values.isfinite().all():
            raise UsageError(f"estimator {own.spec}: the {what} is not finite {given_}.")
    if (found[1] < 0).any():
        raise UsageError(f"estimator {own.spec}: a variance is negative {given_}.")
    if own.pull_back is None:
        return
    grads = tuple(torch.randn(len(mean), generator=generator, dtype=torch.float64) for _ in range(2))
    derived = torch.autograd.grad(found, (mean, variance), grads, allow_unused=True, materialize_grads=True)
    with own.part.running(f"the pull_back of estimator {own.spec}"):
        written = own.pull_back(mean.detach(), variance.detach(), count, *grads)
    for what, one, other in zip(("mean", "variance"), written, derived, strict=True):
        if one.shape != other.shape or not torch.allclose(one.double(), other, rtol=_AGREE, atol=_AGREE):
            raise UsageError(
                f"estimator {own.spec}: the gradient of the {what} by its pull_back differs from that of autograd "
                f"{given_}."
            )
