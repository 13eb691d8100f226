"""The native gradient attacks: pure functions of (model, inputs, labels), for inputs of any rank in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from stein_bench.attacks.active import Findings
from stein_bench.attacks.geometry import TINY, direction, per_sample, project
from stein_bench.attacks.losses import Model, loss_gradient, task_loss
from stein_bench.tasks import Task


def input_gradient(
    model: Model, inputs: Tensor, labels: Tensor, task: Task, *, batch_dependent: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the task's summed loss with respect to `inputs`, and the logits."""
    gradient, logits, _ = loss_gradient(model, inputs, labels, labels, task_loss(task), batch_dependent=batch_dependent)
    return gradient, logits


def fgsm(
    model: Model, inputs: Tensor, labels: Tensor, task: Task, *, eps: float, batch_dependent: bool = False
) -> Tensor:
    """Return `inputs` moved by eps along the sign of the loss gradient, clipped to [0, 1].

    `batch_dependent`: whether a prediction depends on the other samples of the batch.
    Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples" (2015), section 4.
    """
    gradient, _ = input_gradient(model, inputs, labels, task, batch_dependent=batch_dependent)
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
    batch_dependent: bool = False,
) -> Tensor:
    """Return adversarial inputs found by `steps` steps of size `alpha` within the ε-ball and [0, 1].

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018), section 2.1.
    A sample stops at its first misclassified iterate. A sample without one gets its last iterate, the only one not yet
    predicted: all others are known to be correctly classified, whatever their loss. Under batch statistics the batch
    stays whole and its last iterate is returned.

    Args:
        model: maps (n, C, …) in [0, 1] to logits.
        inputs: clean inputs.
        labels: their true labels; their loss is maximized.
        task: defines loss and success.
        norm: ``Linf`` (signed steps) or ``L2`` (normalized steps).
        eps, alpha: radius of the ball and size of a step, in that norm.
        steps: number of gradient steps, at least 1.
        start: perturbation to start from (see `random_start`), or None for the clean inputs.
        batch_dependent: whether a prediction depends on the other samples of the batch.
    """
    center = inputs
    current = inputs if start is None else project(inputs + start, inputs, norm, eps)
    findings = Findings(inputs, batch_dependent=batch_dependent)
    for _ in range(steps):
        gradient, logits = input_gradient(model, current, labels, task, batch_dependent=batch_dependent)
        remaining = findings.drop_broken(current, task.correct(logits, labels))
        if findings.done:
            return findings.adv_inputs
        if remaining is not None:
            current, gradient, center, labels = (part[remaining] for part in (current, gradient, center, labels))
        current = project(current + alpha * direction(gradient, norm), center, norm, eps)
    return findings.finish(current)


def mifgsm(
    model: Model,
    inputs: Tensor,
    labels: Tensor,
    task: Task,
    *,
    norm: str,
    eps: float,
    alpha: float,
    steps: int,
    decay: float,
    batch_dependent: bool = False,
) -> Tensor:
    """Return adversarial inputs found by steps along an accumulated gradient, from the clean inputs.

    g ← decay·g + ∇/‖∇‖₁, then a step of size alpha along g. Arguments and result are as in `pgd`; `decay` is
    the paper's μ (1 there; 0 means no momentum).
    Source: Dong et al., "Boosting adversarial attacks with momentum" (2018), algorithm 1 and equation (8).
    """
    center, current = inputs, inputs
    velocity = torch.zeros_like(inputs)
    findings = Findings(inputs, batch_dependent=batch_dependent)
    for _ in range(steps):
        gradient, logits = input_gradient(model, current, labels, task, batch_dependent=batch_dependent)
        remaining = findings.drop_broken(current, task.correct(logits, labels))
        if findings.done:
            return findings.adv_inputs
        if remaining is not None:
            current, gradient, velocity = current[remaining], gradient[remaining], velocity[remaining]
            center, labels = center[remaining], labels[remaining]
        size = gradient.flatten(1).abs().sum(dim=1).clamp_min(TINY)
        velocity = decay * velocity + gradient / per_sample(size, gradient)
        current = project(current + alpha * direction(velocity, norm), center, norm, eps)
    return findings.finish(current)
