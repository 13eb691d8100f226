"""Losses that gradient attacks maximize: functions of (logits, labels, targets) per sample, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stein_bench.attacks.chunks import chunks
from stein_bench.attacks.geometry import TINY
from stein_bench.tasks import Task

MOST_TARGETS = 9
"""Maximum number of target classes of AutoAttack's targeted parts (Croce and Hein 2020, section 6)."""

UNDERIVED = " is not implemented"
"""Part of torch's message for a function without a derivative: "derivative for aten::heaviside is not implemented"."""

Model = Callable[[Tensor], Tensor]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps (logits (n, K), labels (n,), target classes (n,)) to the loss of each sample, (n,). Untargeted losses ignore the
targets."""


def task_loss(task: Task) -> Loss:
    """Return the task's own loss (for classification the cross-entropy)."""
    return lambda logits, labels, _: task.loss(logits, labels)


def dlr(logits: Tensor, labels: Tensor, _targets: Tensor) -> Tensor:
    """Return the difference-of-logits ratio: (max of the others - z_y) / (z_π1 - z_π3), for K of at least 3.

    It is invariant to shifting and scaling all logits, so it does not saturate on confident networks.
    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks" (2020), equation (6).
    """
    logits = logits.float()
    top = logits.topk(3, dim=1).values
    return (_others(logits, labels).amax(dim=1) - _at(logits, labels)) / (top[:, 0] - top[:, 2] + TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the targeted ratio: (z_t - z_y) / (z_π1 - (z_π3 + z_π4)/2), for K of at least 4.

    Source: Croce and Hein (2020), equation (7).
    """
    logits = logits.float()
    top = logits.topk(4, dim=1).values
    return (_at(logits, targets) - _at(logits, labels)) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return z_t - z_y: positive if the target beats the label. Two classes are enough."""
    return _at(logits, targets) - _at(logits, labels)


def probability_margin(logits: Tensor, labels: Tensor, _targets: Tensor) -> Tensor:
    """Return log(1 + max of the other probabilities - p_y): 0 on the boundary, positive if the prediction is wrong.

    The logarithm changes neither the order of two points nor the direction of the gradient of the margin itself, which
    is all that auto-PGD uses, and it keeps both where p_y rounds to 1.
    Source: Xie et al., "Towards million-scale adversarial robustness evaluation with stronger individual attacks"
    (2024, arXiv 2411.15210), section 3: the probability margin loss.
    """
    others = _others(logits.float(), labels)
    # 1 + p_t - p_y = p_t + the sum of all probabilities but p_y
    raised = torch.logaddexp(others.amax(dim=1), others.logsumexp(dim=1))
    return raised - logits.float().logsumexp(dim=1)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return z_y minus the largest other logit, (n,): negative if the prediction is wrong."""
    logits = logits.float()
    return _at(logits, labels) - _others(logits, labels).amax(dim=1)


def ranked_targets(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Return the classes other than the label, most likely first: (n, min(most, K - 1))."""
    count = min(most, logits.shape[1] - 1)
    return _others(logits.float(), labels).topk(count, dim=1).indices


def loss_gradient(
    model: Model,
    points: Tensor,
    labels: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    batch_dependent: bool = True,
    backward: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of the summed loss with respect to `points`, the logits and the loss of each sample.

    Without `backward` there is only a forward pass, and the gradient is zero. It is zero as well where the model hides
    it, see `slope`.
    Under batch statistics (`batch_dependent`) the gradient includes the paths through the other samples of the batch,
    and the model gets the whole batch. Otherwise each sample gets its own gradient, and the model gets `chunks`.
    """
    parts = [slice(None)] if batch_dependent else list(chunks(len(points), points.device))
    if len(parts) > 1:
        found = (_loss_gradient(model, points[i], labels[i], targets[i], loss, backward=backward) for i in parts)
        gradient, logits, losses = map(torch.cat, zip(*found, strict=True))
        return gradient, logits, losses
    return _loss_gradient(model, points, labels, targets, loss, backward=backward)


def _loss_gradient(
    model: Model, points: Tensor, labels: Tensor, targets: Tensor, loss: Loss, *, backward: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if not backward:
        with torch.no_grad():
            logits = model(points)
            return torch.zeros_like(points), logits, loss(logits, labels, targets)
    points = points.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model(points)
        losses = loss(logits, labels, targets)
        total = losses.sum()
    gradient = slope(total, points)
    return torch.zeros_like(points) if gradient is None else gradient, logits.detach(), losses.detach()


def slope(total: Tensor, points: Tensor) -> Tensor | None:
    """Return the gradient of `total` with respect to `points`; None if there is none.

    There is none behind ``torch.no_grad()`` or ``detach()``, nor through a function for which torch has no derivative
    (``torch.heaviside``). Raises whatever else goes wrong.
    """
    if not total.requires_grad:
        return None
    try:
        (gradient,) = torch.autograd.grad(total, points, allow_unused=True)
    except RuntimeError as error:
        if UNDERIVED in str(error):
            return None
        raise
    return gradient


class Averaged(NamedTuple):
    """What several draws of a model at the same points give, per sample.

    Attributes:
        gradient: the mean gradient of the loss, (n, C, …).
        losses: the mean loss, (n,).
        wrong: the share of the draws that are wrong, float (n,).
    """

    gradient: Tensor
    losses: Tensor
    wrong: Tensor

    @property
    def broken(self) -> Tensor:
        """Which samples are not right in more than half of the draws; with one draw, which are wrong."""
        return self.wrong >= 0.5


def averaged_gradient(
    model: Model,
    points: Tensor,
    labels: Tensor,
    targets: Tensor,
    loss: Loss,
    task: Task,
    *,
    eot: int = 1,
    batch_dependent: bool = True,
    backward: bool = True,
) -> Averaged:
    """Return the gradient, the loss and the share of wrong predictions, averaged over `eot` draws of a random model.

    The mean gradient estimates that of the expected loss (expectation over transformation). A model that is not random
    gives the same, to the last bit, for every `eot`. Other arguments are as for `loss_gradient`.
    Source: Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security" (2018), section 4.3.
    """
    gradient = losses = None
    wrong = torch.zeros(len(points), device=points.device)
    for number in range(eot):
        slope, logits, found = loss_gradient(
            model, points, labels, targets, loss, batch_dependent=batch_dependent, backward=backward
        )
        gradient, losses = mean_with(gradient, slope, number), mean_with(losses, found, number)
        wrong = wrong + ~task.correct(logits, labels)
    assert gradient is not None
    assert losses is not None
    return Averaged(gradient, losses, wrong / eot)


def mean_with(mean: Tensor | None, value: Tensor, number: int) -> Tensor:
    """Return the mean of `number` values joined by another one; equal values have exactly themselves as their mean."""
    return value if mean is None else mean + (value - mean) / (number + 1)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.float().gather(1, classes[:, None]).squeeze(1)


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], -torch.inf)
