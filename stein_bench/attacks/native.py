"""The native attacks by name: maps checked parameters to calls of the pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from stein_bench.attacks.active import Attempt, Batch
from stein_bench.attacks.apgd import apgd
from stein_bench.attacks.call import Call
from stein_bench.attacks.dense import best_seen, is_dense, segpgd
from stein_bench.attacks.fab import fab, nearest_fab
from stein_bench.attacks.geometry import length, per_sample
from stein_bench.attacks.gradient import fgsm, mifgsm, pgd
from stein_bench.attacks.losses import MOST_TARGETS, Loss, dlr, targeted_dlr, targeted_margin, task_loss
from stein_bench.attacks.square import square

FIRST_SHARE = 0.8
"""Square's p in AutoAttack (Croce and Hein 2020, section 6)."""
CLASSES_OF_TARGETED_DLR = 4
"""It uses the third and fourth largest logits."""


def _fgsm(call: Call) -> Tensor:
    return fgsm(call.model, call.inputs, call.labels, call.task, eps=call.eps, batch_dependent=call.batch_dependent)


def _pgd(call: Call) -> Tensor:
    def attempt(restart: int) -> Attempt:
        return lambda batch: pgd(
            call.model, batch.inputs, batch.labels, call.task, norm=call.norm, eps=call.eps,
            alpha=call.number("alpha"), steps=call.whole("steps"),
            start=call.start(batch, restart) if call.params["random_start"] else None,
            batch_dependent=call.batch_dependent,
        )  # fmt: skip

    return call.in_turn(call.batch(), [attempt(restart) for restart in range(call.whole("restarts"))])


def _segpgd(call: Call) -> Tensor:
    def attempt(restart: int) -> Attempt:
        return lambda batch: segpgd(
            call.model, batch.inputs, batch.labels, norm=call.norm, eps=call.eps,
            alpha=call.number("alpha"), steps=call.whole("steps"),
            start=call.start(batch, restart) if call.params["random_start"] else None,
        )  # fmt: skip

    return call.in_turn(call.batch(), [attempt(restart) for restart in range(call.whole("restarts"))])


def _mifgsm(call: Call) -> Tensor:
    return mifgsm(
        call.model, call.inputs, call.labels, call.task, norm=call.norm, eps=call.eps,
        alpha=call.number("alpha"), steps=call.whole("steps"), decay=call.number("decay"),
        batch_dependent=call.batch_dependent,
    )  # fmt: skip


def apgd_attempts(call: Call, loss: Loss, restarts: int) -> list[Attempt]:
    """Return untargeted auto-PGD from `restarts` random starts."""

    def attempt(restart: int) -> Attempt:
        return lambda batch: apgd(
            call.model, batch.inputs, batch.labels, call.task, loss=loss, norm=call.norm, eps=call.eps,
            steps=call.whole("steps"), start=call.start(batch, restart), batch_dependent=call.batch_dependent,
        )  # fmt: skip

    return [attempt(restart) for restart in range(restarts)]


def targeted_attempts(call: Call, batch: Batch, loss: Loss, restarts: int) -> list[Attempt]:
    """Return auto-PGD towards each target class of `batch` in turn, all classes once per restart."""
    count = batch.targets.shape[1]

    def attempt(number: int) -> Attempt:
        return lambda part: apgd(
            call.model, part.inputs, part.labels, call.task, loss=loss, norm=call.norm, eps=call.eps,
            steps=call.whole("steps"), start=call.start(part, number), targets=part.targets[:, number % count],
            batch_dependent=call.batch_dependent,
        )  # fmt: skip

    return [attempt(number) for number in range(count * restarts)]


def _apgd_ce(call: Call) -> Tensor:
    return call.in_turn(call.batch(), apgd_attempts(call, task_loss(call.task), call.whole("restarts")))


def _apgd_dlr(call: Call) -> Tensor:
    return call.in_turn(call.batch(), apgd_attempts(call, dlr, call.whole("restarts")))


def _apgd_t(call: Call) -> Tensor:
    batch = call.aimed_batch(call.whole("targets"))
    return call.in_turn(batch, targeted_attempts(call, batch, targeted_dlr, call.whole("restarts")))


def fab_attempts(call: Call, batch: Batch) -> list[Attempt]:
    """Return FAB towards each target class of `batch` in turn."""

    def attempt(number: int) -> Attempt:
        return lambda part: fab(
            call.model, part.inputs, part.labels, call.task, targets=part.targets[:, number], norm=call.norm,
            eps=call.eps, steps=call.whole("steps"), batch_dependent=call.batch_dependent,
        )  # fmt: skip

    return [attempt(number) for number in range(batch.targets.shape[1])]


def square_attempt(call: Call, share: float) -> Attempt:
    """Return the Square attack whose first windows cover that share of the pixels."""
    return lambda batch: square(
        call.model, batch.inputs, batch.labels, call.task, seeds=batch.seeds, norm=call.norm, eps=call.eps,
        queries=call.whole("queries"), share=share, batch_dependent=call.batch_dependent,
    )  # fmt: skip


def _fab_t(call: Call) -> Tensor:
    batch = call.aimed_batch(call.whole("targets"))
    return call.in_turn(batch, fab_attempts(call, batch))


def _fab(call: Call) -> Tensor:
    """Return the nearest adversarial point over all target classes.

    Under batch statistics, points found in different batches were never evaluated together; they are returned
    anyway, and verification decides whether they are still adversarial.
    """
    batch = call.aimed_batch(call.whole("targets"))
    best, nearest = call.inputs, torch.full((len(call.inputs),), torch.inf, device=call.inputs.device)
    for number in range(batch.targets.shape[1]):
        points = nearest_fab(
            call.model, call.inputs, call.labels, call.task, targets=batch.targets[:, number], norm=call.norm,
            steps=call.whole("steps"), batch_dependent=call.batch_dependent,
        )  # fmt: skip
        away = length(points - call.inputs, call.norm)
        nearer = (away > 0) & (away < nearest)
        best = torch.where(per_sample(nearer, points), points, best)
        nearest = torch.where(nearer, away, nearest)
    return best


def _square(call: Call) -> Tensor:
    return call.in_turn(call.batch(), [square_attempt(call, call.number("p"))])


def autoattack(call: Call) -> Tensor:
    """Run the standard ensemble of AutoAttack: APGD-CE, APGD-T, FAB-T, Square, each on the survivors so far.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks" (2020), section 6, with the parameters of its reference implementation's standard version:
    one start each, 100 steps, the min(9, K - 1) likeliest target classes, and for Square 5,000 queries, p = 0.8 and
    the window schedule of 10,000 queries. With fewer than four classes the targeted ratio is undefined: APGD-T
    then maximizes the logit difference z_t - z_y, for which signed and normalized steps have the same direction.
    Samples that are misclassified without any perturbation are not attacked.
    """
    batch = call.aimed_batch(MOST_TARGETS)
    enough = call.classes >= CLASSES_OF_TARGETED_DLR
    attempts: list[Attempt] = [
        lambda part: part.inputs,
        *apgd_attempts(call, task_loss(call.task), 1),
        *targeted_attempts(call, batch, targeted_dlr if enough else targeted_margin, 1),
        *fab_attempts(call, batch),
        square_attempt(call, FIRST_SHARE),
    ]
    return call.in_turn(batch, attempts)


NATIVE_ATTACKS: dict[str, Callable[[Call], Tensor]] = {
    "fgsm": _fgsm,
    "pgd": _pgd,
    "mifgsm": _mifgsm,
    "segpgd": _segpgd,
    "apgd-ce": _apgd_ce,
    "apgd-dlr": _apgd_dlr,
    "apgd-t": _apgd_t,
    "fab-t": _fab_t,
    "fab": _fab,
    "square": _square,
    "autoattack": autoattack,
}
"""Every native attack of the catalog; each maps a call to candidate adversarial inputs."""


def run_native(name: str, call: Call) -> Tensor:
    """Return the candidates of the native attack of that name; for dense tasks the best points it evaluated."""
    attack = NATIVE_ATTACKS[name]
    if not is_dense(call.labels):
        return attack(call)
    return best_seen(
        call.model, call.task, call.inputs, call.labels,
        lambda watched: attack(replace(call, model=watched, batch_dependent=True)),
        batch_dependent=call.batch_dependent,
    )  # fmt: skip
