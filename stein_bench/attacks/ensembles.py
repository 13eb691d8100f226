"""AutoAttack, and ensembles that are cheaper or stronger: which searches in turn, and with how many steps.

The passes of an ensemble are those of its survivors: AutoAttack spends some 9,700 on each (7,800 of them forward),
but tens on a sample that breaks. What follows was chosen on several networks together (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from stein_bench.attacks.autopgd import auto_pgd, before_auto_pgd, targeted_auto_pgd
from stein_bench.attacks.call import Call
from stein_bench.attacks.fab import FAB
from stein_bench.attacks.gradient import Unperturbed
from stein_bench.attacks.losses import (
    MOST_TARGETS,
    Loss,
    probability_margin,
    targeted_dlr,
    targeted_margin,
    task_loss,
)
from stein_bench.attacks.search import Search
from stein_bench.attacks.square import Square
from stein_bench.attacks.starts import CleanStart
from stein_bench.seeds import derive_seed

FIRST_SHARE = 0.8
"""Square's p in AutoAttack (Croce and Hein 2020, section 6)."""
L1_RESTARTS, L1_TARGETS = 5, 5
"""Restarts of APGD-CE and targets of APGD-T in L1, in the reference implementation of Croce and Hein (2021)."""
CLASSES_OF_TARGETED_DLR = 4
"""It uses the third and fourth largest logits."""
LIKELIEST = 4
"""Number of target classes on which `fast` spends all steps."""
SEEDS = 2**63
"""Seeds lie below this."""

Ensemble = tuple[Search[Any], ...]
"""Searches in turn, each on the samples that survived so far, towards at most `MOST_TARGETS` target classes."""


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


def autoattack(call: Call) -> Ensemble:
    """Return the standard ensemble of AutoAttack: APGD-CE, APGD-T, FAB-T, Square, each on the survivors so far.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks" (2020), section 6, with the parameters of its reference implementation's standard version:
    one start each, 100 steps, the min(9, K - 1) likeliest target classes, and for Square 5,000 queries, p = 0.8 and
    the window schedule of 10,000 queries. With fewer than four classes the targeted ratio is undefined: APGD-T
    then maximizes the logit difference z_t - z_y, for which signed and normalized steps have the same direction.
    In L1 APGD-CE has five starts, and APGD-T the five likeliest target classes (Croce and Hein 2021).
    Samples that are misclassified without any perturbation are not attacked.
    """
    steps = call.whole("steps")
    return (
        Unperturbed(call.task),
        auto_pgd(call, task_loss(call.task), steps, attempts=_starts_of_autoattack(call)),
        targeted_auto_pgd(call, ratio_towards(call), steps, _targets_of_autoattack(call)),
        fab_towards(call, steps, MOST_TARGETS),
        _square(call, call.whole("queries")),
    )


def fast(call: Call) -> Ensemble:
    """Return searches that need at most a fifth of AutoAttack's passes.

    First the probability margin from the clean input, which breaks most of what can be broken, then AutoAttack's ratio
    towards the likeliest classes, for samples whose nearest other class is not the one that is nearest at first. Both
    take all steps: near the boundary only the last, smallest ones succeed. Then few steps on the margin towards each of
    AutoAttack's target classes and on the cross-entropy, in case one of them is all that works. In L1 the latter comes
    first: an attempt there succeeds only in the last of its balls, so that a short one is the cheapest. Then Square
    with a fiftieth of its queries, for networks whose gradients mislead, and in full on a random subset of the samples
    that survive all this: what it breaks there bounds what it would break elsewhere (`measures.unsearched`).

    With nine target classes a survivor costs 1,436 passes, and those drawn cost Square's queries as well. Under batch
    statistics samples cannot be drawn one by one, and on a random model no search ends early: there Square makes that
    share of its queries on every sample, and nothing is bounded.
    """
    steps, queries, drawn = call.whole("steps"), call.whole("queries"), call.number("drawn")
    short = auto_pgd(call, task_loss(call.task), _part(steps, 0.25))
    full = (
        auto_pgd(call, probability_margin, steps, start=CleanStart()),
        targeted_auto_pgd(call, ratio_towards(call), steps, LIKELIEST),
        targeted_auto_pgd(call, targeted_margin, _part(steps, 0.15), _targets_of_autoattack(call)),
    )
    first = (*before_auto_pgd(call), short, *full) if call.norm == "L1" else (*full, short)
    if call.batch_dependent or call.random:
        return (*first, _square(call, max(round(drawn * queries), 1)))
    square = SampledSquare(call.task, call.norm, call.eps, tuple(call.shape), queries, FIRST_SHARE, drawn=drawn)
    return (*first, _square(call, _part(queries, 0.02)), square)


def strongest(call: Call) -> Ensemble:
    """Return searches that need at most AutoAttack's passes, and are meant to break at least as much.

    All of AutoAttack but most of FAB, which takes more passes than its other gradient attacks and seldom breaks a
    sample that they do not: it makes a fifth of its steps here. What that saves goes to the probability margin, before
    everything else and in further restarts, and to the plain margin towards each target class.

    The random numbers are AutoAttack's (`AttackInfo.seeded_as`), so this breaks what its APGD-CE, APGD-T and Square do.
    """
    steps, targets = call.whole("steps"), _targets_of_autoattack(call)
    margin = partial(auto_pgd, call, probability_margin, steps)
    # With fewer classes AutoAttack maximizes the plain margin itself.
    has_ratio = call.classes >= CLASSES_OF_TARGETED_DLR
    first = (
        *before_auto_pgd(call),
        margin(start=CleanStart()),
        auto_pgd(call, task_loss(call.task), steps, attempts=_starts_of_autoattack(call)),
        *([targeted_auto_pgd(call, targeted_margin, _part(steps, 0.5), targets)] if has_ratio else []),
        targeted_auto_pgd(call, ratio_towards(call), steps, targets),
    )
    last = (fab_towards(call, _part(steps, 0.2), MOST_TARGETS), _square(call, call.whole("queries")))
    spare = passes_of_a_survivor(autoattack(call)) - passes_of_a_survivor((*first, *last))
    # One attempt less than there are passes for: samples that break late may cost more here.
    restarts = spare // passes_of_a_survivor([margin()]) - 1
    return (*first, *([margin(attempts=restarts)] if restarts > 0 else []), *last)


def passes_of_a_survivor(searches: Iterable[Search[Any]]) -> int:
    """Return the forward and backward passes of those searches on a sample that survives them."""
    return sum(search.attempts * sum(sum(search.passes(n)) for n in range(search.steps)) for search in searches)


def ratio_towards(call: Call) -> Loss:
    """Return the loss of AutoAttack's APGD-T."""
    return targeted_dlr if call.classes >= CLASSES_OF_TARGETED_DLR else targeted_margin


def fab_towards(call: Call, steps: int, targets: int) -> FAB:
    """Return FAB towards each target class in turn."""
    return FAB(
        call.task, call.norm, call.eps, steps,
        attempts=call.target_count(targets), batch_dependent=call.batch_dependent,
    )  # fmt: skip


def _starts_of_autoattack(call: Call) -> int:
    return L1_RESTARTS if call.norm == "L1" else 1


def _targets_of_autoattack(call: Call) -> int:
    return L1_TARGETS if call.norm == "L1" else MOST_TARGETS


def _square(call: Call, queries: int) -> Square:
    return Square(
        call.task, call.norm, call.eps, tuple(call.shape), queries, FIRST_SHARE, eot=call.eot, random=call.random
    )


def _part(whole: int, share: float) -> int:
    return max(round(share * whole), 1)
