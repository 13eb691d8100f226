"""Auto-PGD in every norm, from what an attack is run with."""

from __future__ import annotations

import math

from stein_bench.attacks.apgd import APGD
from stein_bench.attacks.call import Call
from stein_bench.attacks.gradient import Unperturbed
from stein_bench.attacks.losses import Loss
from stein_bench.attacks.search import Start
from stein_bench.attacks.sparse import ONE_BALL, SHRINKING, SparseAPGD
from stein_bench.attacks.starts import RandomStarts


def auto_pgd(
    call: Call,
    loss: Loss,
    steps: int,
    *,
    start: Start | None = None,
    attempts: int = 1,
    targeted: bool = False,
    eot: int = 1,
) -> APGD | SparseAPGD:
    """Return auto-PGD on that loss.

    In L1 its starts are Gaussian: projected onto the first ball they are sparse. Dense tasks take the best point of all
    that were evaluated, so that there all must lie within eps.

    Args:
        call: model, task and budget.
        loss: the loss to maximize.
        steps: number of moves of an attempt.
        start: perturbations to start from, by default random ones; has no effect in L1.
        attempts: number of attempts, over all starts and targets.
        targeted: whether the loss has target classes, see `APGD`.
        eot: draws of a random model over which gradients are averaged.
    """
    if call.norm == "L1":
        return SparseAPGD(
            call.task, loss, call.eps, steps, RandomStarts("L2", math.sqrt(math.prod(call.shape))),
            targeted=targeted, attempts=attempts, batch_dependent=call.batch_dependent,
            radii=ONE_BALL if call.task.name == "segmentation" else SHRINKING, eot=eot,
        )  # fmt: skip
    return APGD(
        call.task, loss, call.norm, call.eps, steps, start or call.starts(),
        targeted=targeted, attempts=attempts, batch_dependent=call.batch_dependent, eot=eot,
    )  # fmt: skip


def targeted_auto_pgd(
    call: Call, loss: Loss, steps: int, targets: int, *, restarts: int = 1, eot: int = 1
) -> APGD | SparseAPGD:
    """Return auto-PGD towards each target class in turn, all classes once per restart.

    Args:
        call, loss, steps, eot: as for `auto_pgd`.
        targets: most target classes.
        restarts: number of attempts towards each of them.
    """
    return auto_pgd(call, loss, steps, attempts=restarts * call.target_count(targets), targeted=True, eot=eot)


def before_auto_pgd(call: Call) -> tuple[Unperturbed, ...]:
    """Return the look at the clean inputs that spares those misclassified already, where auto-PGD does not take it.

    That is in L1, where its first points lie beyond eps. Under batch statistics no sample is spared.
    """
    return unless_wrong(call) if call.norm == "L1" else ()


def unless_wrong(call: Call) -> tuple[Unperturbed, ...]:
    """Return a look at the clean inputs, but none under batch statistics, where no sample is spared."""
    return () if call.batch_dependent else (Unperturbed(call.task),)
