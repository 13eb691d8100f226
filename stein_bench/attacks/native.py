"""The native attacks by name: from checked parameters to a call of the pure function."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from stein_bench.attacks.active import Attempt, Batch
from stein_bench.attacks.apgd import apgd
from stein_bench.attacks.call import Call
from stein_bench.attacks.gradient import fgsm, mifgsm, pgd
from stein_bench.attacks.losses import Loss, dlr, targeted_dlr, task_loss


def _fgsm(call: Call) -> Tensor:
    return fgsm(call.model, call.inputs, call.labels, call.task, eps=call.eps)


def _pgd(call: Call) -> Tensor:
    def attempt(restart: int) -> Attempt:
        return lambda batch: pgd(
            call.model, batch.inputs, batch.labels, call.task, norm=call.norm, eps=call.eps,
            alpha=call.number("alpha"), steps=call.whole("steps"),
            start=call.start(batch, restart) if call.params["random_start"] else None, coupled=call.coupled,
        )  # fmt: skip

    return call.in_turn(call.batch(), [attempt(restart) for restart in range(call.whole("restarts"))])


def _mifgsm(call: Call) -> Tensor:
    return mifgsm(
        call.model, call.inputs, call.labels, call.task, norm=call.norm, eps=call.eps,
        alpha=call.number("alpha"), steps=call.whole("steps"), decay=call.number("decay"), coupled=call.coupled,
    )  # fmt: skip


def apgd_attempts(call: Call, loss: Loss, restarts: int) -> list[Attempt]:
    """Return untargeted auto-PGD from `restarts` random starts."""

    def attempt(restart: int) -> Attempt:
        return lambda batch: apgd(
            call.model, batch.inputs, batch.labels, call.task, loss=loss, norm=call.norm, eps=call.eps,
            steps=call.whole("steps"), start=call.start(batch, restart), coupled=call.coupled,
        )  # fmt: skip

    return [attempt(restart) for restart in range(restarts)]


def targeted_attempts(call: Call, batch: Batch, loss: Loss, restarts: int) -> list[Attempt]:
    """Return auto-PGD towards each target class of `batch` in turn, all of them once per restart."""
    count = batch.targets.shape[1]

    def attempt(number: int) -> Attempt:
        return lambda part: apgd(
            call.model, part.inputs, part.labels, call.task, loss=loss, norm=call.norm, eps=call.eps,
            steps=call.whole("steps"), start=call.start(part, number), targets=part.targets[:, number % count],
            coupled=call.coupled,
        )  # fmt: skip

    return [attempt(number) for number in range(count * restarts)]


def _apgd_ce(call: Call) -> Tensor:
    return call.in_turn(call.batch(), apgd_attempts(call, task_loss(call.task), call.whole("restarts")))


def _apgd_dlr(call: Call) -> Tensor:
    return call.in_turn(call.batch(), apgd_attempts(call, dlr, call.whole("restarts")))


def _apgd_t(call: Call) -> Tensor:
    batch = call.aimed_batch(call.whole("targets"))
    return call.in_turn(batch, targeted_attempts(call, batch, targeted_dlr, call.whole("restarts")))


NATIVE_ATTACKS: dict[str, Callable[[Call], Tensor]] = {
    "fgsm": _fgsm,
    "pgd": _pgd,
    "mifgsm": _mifgsm,
    "apgd-ce": _apgd_ce,
    "apgd-dlr": _apgd_dlr,
    "apgd-t": _apgd_t,
}
"""Every native attack of the catalogue: from a call to what is claimed to be adversarial."""
