"""Attacks of other libraries that ours are compared with, in Linf.

Each is a function of (model, inputs, labels, eps, start), where `start` is the random start of our `pgd`.

Their results are verified like all others, by `stein_bench.attacks.verify`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torchattacks
from torch import Tensor, nn

Rival = Callable[[nn.Module, Tensor, Tensor, float, Tensor], Tensor]

STEPS, SHARE = 10, 0.25
"""PGD takes ten steps of a quarter of eps."""
CLASSES = 10


def torchattacks_pgd(
    model: nn.Module, inputs: Tensor, labels: Tensor, eps: float, start: Tensor | None = None
) -> Tensor:
    """Return the result of torchattacks' PGD, from its own random start."""
    del start
    return torchattacks.PGD(model, eps=eps, alpha=SHARE * eps, steps=STEPS)(inputs, labels)


def foolbox_pgd(model: nn.Module, inputs: Tensor, labels: Tensor, eps: float, start: Tensor) -> Tensor:
    """Return the result of foolbox's LinfPGD from the same start (the extra ``bench`` installs it)."""
    import eagerpy
    import foolbox

    class FromStart(foolbox.attacks.LinfPGD):
        def get_random_start(self, x0: eagerpy.Tensor, epsilon: float) -> eagerpy.Tensor:
            del epsilon
            return x0 + eagerpy.astensor(start)

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
    return FromStart(rel_stepsize=SHARE, steps=STEPS, random_start=True)(wrapped, inputs, labels, epsilons=eps)[1]


def reference_autoattack(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    eps: float,
    start: Tensor | None = None,
    *,
    steps: int = 100,
    queries: int = 5000,
) -> Tensor:
    """Return the result of torchattacks' components, combined and configured as in the reference implementation.

    That is: samples misclassified on the clean input are not attacked; then APGD-CE, APGD-T, FAB-T and Square run, each
    on the samples that survived, with 100 `steps`, nine target classes, 5,000 `queries` and the schedule of 10,000
    (Croce and Hein 2020, section 6). The components match the reference line by line, so they take the same passes.
    """
    del start
    common = {"eps": eps, "norm": "Linf", "seed": 0, "n_restarts": 1}
    parts = (
        partial(torchattacks.APGD, steps=steps, loss="ce", **common),
        partial(torchattacks.APGDT, steps=steps, n_classes=CLASSES, **common),
        partial(torchattacks.FAB, steps=steps, multi_targeted=True, n_classes=CLASSES, **common),
        partial(torchattacks.Square, n_queries=queries, p_init=0.8, resc_schedule=False, **common),
    )
    found, left = inputs.clone(), _right(model, inputs, labels).nonzero().squeeze(1)
    for part in parts:
        if len(left) == 0:
            break
        points = part(model)(inputs[left], labels[left])
        right = _right(model, points, labels[left])
        found[left[~right]] = points[~right].detach()
        left = left[right]
    return found


@torch.no_grad()
def _right(model: nn.Module, points: Tensor, labels: Tensor) -> Tensor:
    return model(points).argmax(dim=1) == labels


RIVALS: dict[str, Rival] = {
    "torchattacks PGD": torchattacks_pgd,
    "foolbox LinfPGD": foolbox_pgd,
    "reference AutoAttack": reference_autoattack,
}
