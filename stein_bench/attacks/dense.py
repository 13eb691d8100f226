"""Attacks on dense predictions: the best iterate of every image, and SegPGD.

An image is not simply broken, like a sample with a single label: its mIoU falls gradually. So an attack runs all its
steps on the whole batch, every point it evaluates is scored, and its result is the point with the image's lowest mIoU.
(`Task.correct` is false once no labeled pixel is correct; only then is there nothing to gain.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stein_bench.attacks.geometry import per_sample
from stein_bench.attacks.gradient import PGD
from stein_bench.attacks.losses import Loss, Model
from stein_bench.tasks import IGNORE, Task


def is_dense(labels: Tensor) -> bool:
    """Return whether every sample has a map of labels."""
    return labels.ndim > 1


def best_seen(
    model: Model,
    task: Task,
    inputs: Tensor,
    labels: Tensor,
    attack: Callable[[Model], Tensor],
    *,
    batch_dependent: bool,
) -> Tensor:
    """Return the best of all points that `attack` evaluated, including the one that it returned.

    Per image that is the point with the lowest `Task.quality`, the earliest in case of ties. Under batch statistics,
    points of different batches would form a batch that the model never saw, so it is the whole batch with the
    lowest sum.

    Args:
        model, task, inputs, labels: what is attacked; every point has the shape of `inputs`.
        attack: gets a wrapper of `model` that records every point; it must call it with the whole batch, and within the
            ε-ball only.
        batch_dependent: whether a prediction depends on the other samples of the batch.
    """
    best = inputs
    lowest = torch.full((len(inputs),), torch.inf, dtype=torch.float64, device=inputs.device)

    def watched(points: Tensor) -> Tensor:
        nonlocal best, lowest
        logits = model(points)
        with torch.no_grad():
            quality = task.quality(logits.detach(), labels).double()
            better = (quality.sum() < lowest.sum()).expand_as(lowest) if batch_dependent else quality < lowest
            best = torch.where(per_sample(better, best), points.detach(), best)
            lowest = torch.where(better, quality, lowest)
        return logits

    last = attack(watched)
    with torch.no_grad():
        watched(last)
    return best


def segpgd_loss(logits: Tensor, labels: Tensor, shift: float) -> Tensor:
    """Return the weighted cross-entropy of each image, (n,): 1 - `shift` on correct pixels, `shift` on the others.

    The mean is over labeled pixels. Source: Gu, Zhao, Tresp, Torr, "SegPGD: an effective and efficient adversarial
    attack for evaluating and boosting segmentation robustness" (2022), equation (4).
    """
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORE)
    right = logits.detach().argmax(dim=1) == labels
    weighted = torch.where(right, 1 - shift, shift) * losses
    return weighted.flatten(1).sum(dim=1) / (labels != IGNORE).flatten(1).sum(dim=1).clamp_min(1)


@dataclass(frozen=True)
class SegPGD(PGD):
    """Projected gradient ascent whose weight moves from correct to misclassified pixels.

    In step t of T the shift is (t - 1) / (2·T): the first steps break pixels that are still correct, later ones keep
    the others misclassified. Attributes are as for `PGD`, labels (n, H, W); the images take all steps together.
    Source: Gu et al. (2022), algorithm 1 and section 3.
    """

    def loss(self, numbers: Sequence[int]) -> Loss:
        """Return the loss with the shift of the step, which is the same for all images."""
        return _shifted(numbers[0] / (2 * self.steps))


def _shifted(shift: float) -> Loss:
    return lambda logits, labels, _: segpgd_loss(logits, labels, shift)
