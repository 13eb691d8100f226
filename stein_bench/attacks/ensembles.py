"""Ensembles that are cheaper or stronger than AutoAttack: which searches in turn, and with how many steps.

The passes of an ensemble are those of its survivors: AutoAttack spends some 9,700 on each (7,800 of them forward),
but tens on a sample that breaks. What follows was chosen on several networks together (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stein_bench.attacks.apgd import APGD
from stein_bench.attacks.call import Call
from stein_bench.attacks.fab import FAB
from stein_bench.attacks.losses import (
    MOST_TARGETS,
    Loss,
    probability_margin,
    targeted_dlr,
    targeted_margin,
    task_loss,
)
from stein_bench.attacks.search import Batch, Search, Start
from stein_bench.attacks.square import Square
from stein_bench.seeds import derive_seed

FIRST_SHARE = 0.8
"""Square's p in AutoAttack (Croce and Hein 2020, section 6)."""
CLASSES_OF_TARGETED_DLR = 4
"""It uses the third and fourth largest logits."""
LIKELIEST = 2
"""Number of target classes on which `fast` spends more steps."""
SEEDS = 2**63
"""Seeds lie below this."""


class CleanStart:
    """Maps samples to no perturbation at all: the search starts at the clean inputs, and evaluates them too."""

    def __call__(self, batch: Batch, attempts: Sequence[int]) -> Tensor:
        """Return zeros of the shape of the inputs."""
        return torch.zeros_like(batch.inputs)


@dataclass(frozen=True)
class SampledSquare(Square):
    """Square on a random subset of the samples that reach it.

    Whether a sample is drawn depends on its own seed alone, so neither on its batch nor on a resumed run.

    Attributes:
        drawn: the probability of being drawn, in (0, 1].
    """

    drawn: float = 1.0
    sampled = True

    def admits(self, seed: int) -> bool:
        """Return whether the sample with that seed is drawn."""
        return derive_seed(seed, "subset") < self.drawn * SEEDS


def pma(call: Call) -> APGD:
    """Return auto-PGD on the probability margin.

    Source: Xie et al., "Towards million-scale adversarial robustness evaluation with stronger individual attacks"
    (2024, arXiv 2411.15210).
    """
    return _untargeted(call, probability_margin, call.whole("steps"), call.starts(), call.whole("restarts"))


def mm(call: Call) -> APGD:
    """Return auto-PGD on the margin z_t - z_y towards each target class in turn, the class of largest margin first.

    Source: Gao et al., "Fast and reliable evaluation of adversarial robustness with minimum-margin attack" (2022),
    which takes few steps towards few targets, those of the largest margins on the clean input. There the loss is
    rescaled; with the signed or normalized steps of auto-PGD a scale has no effect.
    """
    return _targeted(call, targeted_margin, call.whole("steps"), call.whole("targets"), call.whole("restarts"))


def fast(call: Call) -> tuple[Search[Any], ...]:
    """Return searches that need at most a fifth of AutoAttack's passes.

    First the probability margin from the clean input, which breaks most of what can be broken. It takes all steps: near
    the boundary only the last, smallest ones succeed. Then few steps on the cross-entropy and on the margin towards
    each of AutoAttack's target classes, and half of them on its ratio towards the two likeliest. Then Square with a
    fiftieth of its queries, for networks whose gradients mislead, and in full on a random subset of the samples that
    survive all this: what it breaks there bounds what it would break elsewhere (`measures.unsearched`).

    With nine target classes a survivor costs 1,014 passes, and those drawn cost Square's queries as well. Under batch
    statistics samples cannot be drawn one by one: Square makes that share of its queries on every batch, and nothing is
    bounded.
    """
    steps, queries, drawn = call.whole("steps"), call.whole("queries"), call.number("drawn")
    few = _part(steps, 0.25)
    first = (
        _untargeted(call, probability_margin, steps, CleanStart()),
        _untargeted(call, task_loss(call.task), few, call.starts()),
        _targeted(call, targeted_margin, few, MOST_TARGETS),
        replace(_targeted(call, _ratio(call), _part(steps, 0.5), MOST_TARGETS), attempts=call.target_count(LIKELIEST)),
    )
    if call.batch_dependent:
        return (*first, _square(call, max(round(drawn * queries), 1)))
    square = SampledSquare(call.task, call.norm, call.eps, tuple(call.shape), queries, FIRST_SHARE, drawn=drawn)
    return (*first, _square(call, _part(queries, 0.02)), square)


def strongest(call: Call) -> tuple[Search[Any], ...]:
    """Return searches that need at most AutoAttack's passes, and are meant to break at least as much.

    All of AutoAttack but most of FAB, which takes more passes than its other gradient attacks and seldom breaks a
    sample that they do not: it makes a fifth of its steps here. What that saves goes to the probability margin, before
    everything else and in further restarts, and to the plain margin towards each target class.
    """
    steps, queries = call.whole("steps"), call.whole("queries")
    half, fifth, targets = _part(steps, 0.5), _part(steps, 0.2), call.target_count(MOST_TARGETS)
    has_ratio = call.classes >= CLASSES_OF_TARGETED_DLR  # else AutoAttack maximizes the plain margin itself
    # One attempt less than there are passes for: samples that break late may cost more here.
    restarts = _spare_passes(steps, half * has_ratio, fifth, targets) // _passes(steps) - 1
    return (
        _untargeted(call, probability_margin, steps, CleanStart()),
        _untargeted(call, task_loss(call.task), steps, call.starts()),
        *([_targeted(call, targeted_margin, half, MOST_TARGETS)] if has_ratio else []),
        _targeted(call, _ratio(call), steps, MOST_TARGETS),
        *([_untargeted(call, probability_margin, steps, call.starts(), restarts)] if restarts > 0 else []),
        FAB(call.task, call.norm, call.eps, fifth, attempts=targets, batch_dependent=call.batch_dependent),
        _square(call, queries),
    )


def _spare_passes(steps: int, margin_steps: int, fifth: int, targets: int) -> int:
    """Return the passes per survivor that AutoAttack makes and the fixed searches of `strongest` do not."""
    margins = targets * _passes(margin_steps) if margin_steps else 0
    return 1 + 3 * targets * (steps - fifth) - _passes(steps) - margins


def _passes(steps: int) -> int:
    """Return the forward and backward passes of an attempt of auto-PGD with that many moves."""
    return 2 * steps + 1


def _part(whole: int, share: float) -> int:
    return max(round(share * whole), 1)


def _ratio(call: Call) -> Loss:
    """Return the loss of AutoAttack's APGD-T."""
    return targeted_dlr if call.classes >= CLASSES_OF_TARGETED_DLR else targeted_margin


def _untargeted(call: Call, loss: Loss, steps: int, start: Start, attempts: int = 1) -> APGD:
    return APGD(
        call.task, loss, call.norm, call.eps, steps, start, attempts=attempts, batch_dependent=call.batch_dependent
    )


def _targeted(call: Call, loss: Loss, steps: int, targets: int, restarts: int = 1) -> APGD:
    return APGD(
        call.task, loss, call.norm, call.eps, steps, call.starts(), targeted=True,
        attempts=restarts * call.target_count(targets), batch_dependent=call.batch_dependent,
    )  # fmt: skip


def _square(call: Call, queries: int) -> Square:
    return Square(call.task, call.norm, call.eps, tuple(call.shape), queries, FIRST_SHARE)
