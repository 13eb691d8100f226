"""The native attacks by name: from checked parameters to a call of the pure function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stein_bench.attacks.active import Attempt, Batch, in_turn
from stein_bench.attacks.geometry import random_start
from stein_bench.attacks.gradient import fgsm, mifgsm, pgd
from stein_bench.attacks.losses import Model
from stein_bench.specs import ParameterValue
from stein_bench.tasks import Task


@dataclass(frozen=True)
class Call:
    """One call of a native attack on one batch.

    Attributes:
        model: maps [0, 1] to logits, in eval mode with frozen parameters.
        inputs, labels: the batch, (n, C, …) and (n,).
        task: loss and success.
        norm, eps: the budget.
        params: the attack's own parameters, complete.
        seeds: one per sample.
        coupled: whether batch statistics couple the samples.
    """

    model: Model
    inputs: Tensor
    labels: Tensor
    task: Task
    norm: str
    eps: float
    params: Mapping[str, ParameterValue]
    seeds: Sequence[int]
    coupled: bool

    def whole(self, name: str) -> int:
        """Return a parameter that is a whole number."""
        return int(self.params[name])

    def number(self, name: str) -> float:
        """Return a parameter that is a number."""
        return float(self.params[name])

    def batch(self, targets: Tensor | None = None) -> Batch:
        """Return the samples, with (n, T) target classes where the attack has them."""
        if targets is None:
            targets = torch.empty(len(self.inputs), 0, dtype=torch.long, device=self.inputs.device)
        return Batch(self.inputs, self.labels, self.seeds, targets)

    def start(self, batch: Batch, restart: int) -> Tensor:
        """Return a random start for each sample of `batch`."""
        start = random_start(batch.inputs.shape, batch.seeds, self.norm, self.eps, restart)
        return start.to(batch.inputs.device)

    def in_turn(self, batch: Batch, attempts: Sequence[Attempt]) -> Tensor:
        """Make the attempts one after another on the samples that still stand."""
        return in_turn(self.model, self.task, batch, attempts, coupled=self.coupled)


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


NATIVE_ATTACKS: dict[str, Callable[[Call], Tensor]] = {"fgsm": _fgsm, "pgd": _pgd, "mifgsm": _mifgsm}
"""Every native attack of the catalogue: from a call to what is claimed to be adversarial."""
