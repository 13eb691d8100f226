"""The native gradient attacks: pure functions of (model, inputs, labels), for inputs of any rank in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task

Model = Callable[[Tensor], Tensor]


def input_gradient(model: Model, inputs: Tensor, labels: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return the gradient of the summed loss with respect to `inputs`, and the logits it came from.

    Under running statistics the samples are independent, so that each gets its own gradient; under batch
    statistics the gradient includes the paths through the other samples of the batch.
    """
    inputs = inputs.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model(inputs)
        loss = task.loss(logits, labels).sum()
    (gradient,) = torch.autograd.grad(loss, inputs)
    return gradient, logits.detach()


def fgsm(model: Model, inputs: Tensor, labels: Tensor, task: Task, *, eps: float) -> Tensor:
    """Return `inputs` moved by eps along the sign of the loss gradient, clipped to [0, 1].

    Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples" (2015), section 4.
    """
    gradient, _ = input_gradient(model, inputs, labels, task)
    return (inputs + eps * gradient.sign()).clamp(0, 1)


def pgd(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    *,
    norm: str,
    eps: float,
    alpha: float,
    steps: int,
    start: Tensor | None = None,
    coupled: bool = False,
) -> Tensor:
    """Return adversarial inputs found by `steps` steps of size `alpha` within the ball and the box.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018), section 2.1.
    Per sample the first misclassified iterate is kept, else the last one. Where samples are coupled by batch
    statistics, iterates of different steps do not make a batch that was ever seen: the last one is kept whole.

    Args:
        model: maps (n, C, …) in [0, 1] to logits.
        inputs: clean inputs.
        labels: their true labels; the loss is made larger.
        task: gives loss and success.
        norm: ``Linf`` (signed steps) or ``L2`` (normalised steps).
        eps, alpha: radius of the ball and size of a step, in that norm.
        steps: number of gradient steps, at least 1.
        start: perturbation to start from (see `random_start`), or None for the clean inputs.
        coupled: whether a prediction depends on the other samples of the batch.
    """
    current = inputs if start is None else project(inputs + start, inputs, norm, eps)
    kept, broken = current, torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
    for _ in range(steps):
        gradient, logits = input_gradient(model, current, labels, task)
        if not coupled:
            broken, kept = _keep_first(broken, kept, ~task.correct(logits, labels), current)
        current = project(current + alpha * direction(gradient, norm), inputs, norm, eps)
    return torch.where(_per_sample(broken, current), kept, current)


def direction(gradient: Tensor, norm: str) -> Tensor:
    """Return the steepest-ascent direction of unit `norm`: the sign, or the gradient over its L2 norm."""
    if norm == "Linf":
        return gradient.sign()
    length = gradient.flatten(1).norm(dim=1)
    return gradient / _per_sample(length.clamp_min(1e-12), gradient)


def project(points: Tensor, centre: Tensor, norm: str, eps: float) -> Tensor:
    """Project `points` onto the ball of radius eps around `centre`, then clip to [0, 1].

    For Linf this is the exact projection onto the intersection; for L2 the clipping only shortens.
    """
    delta = points - centre
    if norm == "Linf":
        delta = delta.clamp(-eps, eps)
    else:
        length = delta.flatten(1).norm(dim=1)
        delta = delta * _per_sample((eps / length.clamp_min(1e-12)).clamp_max(1.0), delta)
    return (centre + delta).clamp(0, 1)


def random_start(shape: Sequence[int], seeds: Sequence[int], norm: str, eps: float) -> Tensor:
    """Return one perturbation per seed, uniform in the ball, of `shape` (n, C, …), on the CPU.

    Each sample draws from its own generator, so that neither batch size nor order matters. In L2 a normalised
    Gaussian gives the direction and U^(1/d) the radius.
    """
    starts = torch.empty(tuple(shape))
    for start, seed in zip(starts, seeds, strict=True):
        generator = torch.Generator().manual_seed(derive_seed(seed, "start"))
        if norm == "Linf":
            start.uniform_(-1, 1, generator=generator)
        else:
            start.normal_(generator=generator)
            radius = torch.rand((), generator=generator) ** (1 / start.numel())
            start.mul_(radius / start.norm().clamp_min(1e-12))
    return starts * eps


def _keep_first(broken: Tensor, kept: Tensor, wrong: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
    new = wrong & ~broken
    return broken | new, torch.where(_per_sample(new, current), current, kept)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
