"""The native attacks by name: maps checked parameters to searches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from stein_bench.attacks.adaptive import stages
from stein_bench.attacks.autopgd import auto_pgd, before_auto_pgd, targeted_auto_pgd, unless_wrong
from stein_bench.attacks.call import Call
from stein_bench.attacks.cw import CW
from stein_bench.attacks.ddn import DDN
from stein_bench.attacks.deepfool import DeepFool
from stein_bench.attacks.dense import SegPGD, best_seen, is_dense
from stein_bench.attacks.ensembles import autoattack, fab_towards, fast, strongest
from stein_bench.attacks.estimated import Estimated
from stein_bench.attacks.fab import nearest_fab
from stein_bench.attacks.fmn import FMN
from stein_bench.attacks.geometry import length, per_sample
from stein_bench.attacks.gradient import MIFGSM, PGD, fgsm
from stein_bench.attacks.hopskipjump import HopSkipJump
from stein_bench.attacks.losses import (
    MOST_TARGETS,
    Loss,
    dlr,
    probability_margin,
    targeted_dlr,
    targeted_margin,
    task_loss,
)
from stein_bench.attacks.random_search import most_often_wrong
from stein_bench.attacks.rays import RayS
from stein_bench.attacks.refill import Found, Watch, refill
from stein_bench.attacks.search import Batch, Search, Start, whole_batch
from stein_bench.attacks.square import Square
from stein_bench.memory import MemoryLimit


@dataclass(frozen=True)
class Searches:
    """An attack made of searches in turn, each on the samples that survived so far.

    Attributes:
        searches: at least one.
        targets: most target classes per sample, 0 for untargeted attacks.
    """

    searches: tuple[Search[Any], ...]
    targets: int = 0

    def aimed(self, call: Call, batch: Batch, memory: MemoryLimit) -> Batch:
        """Return the samples with their target classes, if the attack is targeted."""
        if not self.targets:
            return batch
        if call.batch_dependent:
            return replace(batch, targets=call.targets(batch, slice(None), self.targets))
        parts = memory.in_parts(len(batch.seeds), lambda part: call.targets(batch, part, self.targets))
        return replace(batch, targets=torch.cat(parts))


@dataclass(frozen=True)
class Direct:
    """An attack that makes the same passes on all samples, whatever happens to them."""

    run: Callable[[Batch], Tensor]


def _fgsm(call: Call) -> Direct:
    def run(batch: Batch) -> Tensor:
        return fgsm(
            call.model, batch.inputs, batch.labels, call.task,
            eps=call.eps, eot=call.eot, batch_dependent=call.batch_dependent,
        )  # fmt: skip

    return Direct(run)


def _pgd(call: Call, kind: type[PGD] = PGD) -> Searches:
    search = kind(
        call.task, call.norm, call.eps, call.number("alpha"), call.whole("steps"),
        start=_start(call), attempts=call.whole("restarts"), batch_dependent=call.batch_dependent, eot=call.eot,
    )  # fmt: skip
    return Searches((search,))


def _segpgd(call: Call) -> Searches:
    return _pgd(call, SegPGD)


def _start(call: Call) -> Start | None:
    return call.starts() if call.params["random_start"] else None


def _mifgsm(call: Call) -> Searches:
    search = MIFGSM(
        call.task, call.norm, call.eps, call.number("alpha"), call.whole("steps"), call.number("decay"),
        batch_dependent=call.batch_dependent, eot=call.eot,
    )  # fmt: skip
    return Searches((search,))


def _apgd_ce(call: Call) -> Searches:
    return _apgd(call, task_loss(call.task))


def _apgd_dlr(call: Call) -> Searches:
    return _apgd(call, dlr)


def _pma(call: Call) -> Searches:
    """Return auto-PGD on the probability margin.

    Source: Xie et al., "Towards million-scale adversarial robustness evaluation with stronger individual attacks"
    (2024, arXiv 2411.15210).
    """
    return _apgd(call, probability_margin)


def _apgd(call: Call, loss: Loss) -> Searches:
    """Return untargeted auto-PGD from random starts."""
    attack = auto_pgd(call, loss, call.whole("steps"), attempts=call.whole("restarts"), eot=call.eot)
    return Searches((*before_auto_pgd(call), attack))


def _apgd_t(call: Call) -> Searches:
    return _targeted_apgd(call, targeted_dlr)


def _mm(call: Call) -> Searches:
    """Return auto-PGD on the margin z_t - z_y towards each target class in turn, the class of largest margin first.

    Source: Gao et al., "Fast and reliable evaluation of adversarial robustness with minimum-margin attack" (2022),
    which takes few steps towards few targets, those of the largest margins on the clean input. There the loss is
    rescaled; with the signed or normalized steps of auto-PGD a scale has no effect.
    """
    return _targeted_apgd(call, targeted_margin)


def _targeted_apgd(call: Call, loss: Loss) -> Searches:
    steps, targets, restarts = (call.whole(name) for name in ("steps", "targets", "restarts"))
    attack = targeted_auto_pgd(call, loss, steps, targets, restarts=restarts, eot=call.eot)
    return Searches((*before_auto_pgd(call), attack), targets)


def _fab_t(call: Call) -> Searches:
    targets = call.whole("targets")
    # FAB looks for the boundary also where the clean input is beyond it already.
    return Searches((*unless_wrong(call), fab_towards(call, call.whole("steps"), targets)), targets)


def _fab(call: Call) -> Direct:
    return Direct(partial(_nearest, call))


def _nearest(call: Call, batch: Batch) -> Tensor:
    """Return the nearest adversarial point over all target classes.

    Under batch statistics, points found in different batches were never evaluated together; they are returned
    anyway, and verification decides whether they are still adversarial.
    """
    targets = call.targets(batch, slice(None), call.whole("targets"))
    best, nearest = batch.inputs, torch.full((len(batch.inputs),), torch.inf, device=batch.inputs.device)
    for number in range(targets.shape[1]):
        points = nearest_fab(
            call.model, batch.inputs, batch.labels, call.task, targets=targets[:, number], norm=call.norm,
            steps=call.whole("steps"), batch_dependent=call.batch_dependent,
        )  # fmt: skip
        away = length(points - batch.inputs, call.norm)
        nearer = (away > 0) & (away < nearest)
        best = torch.where(per_sample(nearer, points), points, best)
        nearest = torch.where(nearer, away, nearest)
    return best


def _deepfool(call: Call) -> Searches:
    search = DeepFool(
        call.task, call.norm, call.whole("steps"), call.whole("targets"), call.number("overshoot"), call.classes,
        batch_dependent=call.batch_dependent,
    )  # fmt: skip
    return Searches((search,))


def _cw(call: Call) -> Searches:
    search = CW(
        call.task, call.whole("steps"), call.whole("search_steps"), call.number("lr"), call.number("c"),
        call.number("kappa"), batch_dependent=call.batch_dependent,
    )  # fmt: skip
    return Searches((search,))


def _ddn(call: Call) -> Searches:
    search = DDN(call.task, call.whole("steps"), call.number("gamma"), batch_dependent=call.batch_dependent)
    return Searches((search,))


def _fmn(call: Call) -> Searches:
    return Searches((FMN(call.task, call.norm, call.whole("steps"), batch_dependent=call.batch_dependent),))


def _square(call: Call) -> Searches:
    search = Square(
        call.task, call.norm, call.eps, tuple(call.shape), call.whole("queries"), call.number("p"),
        eot=call.eot, random=call.random,
    )  # fmt: skip
    return Searches((search,))


def _nes(call: Call) -> Searches:
    search = Estimated(
        "nes", call.task, call.norm, call.eps, call.whole("queries"), call.whole("samples"),
        call.number("sigma"), call.number("alpha"), call.number("decay"),
    )  # fmt: skip
    return Searches((search,))


def _spsa(call: Call) -> Searches:
    search = Estimated(
        "spsa", call.task, call.norm, call.eps, call.whole("queries"), call.whole("samples"),
        call.number("delta"), call.number("alpha"),
    )  # fmt: skip
    return Searches((search,))


def _rays(call: Call) -> Searches:
    return Searches((RayS(call.task, call.eps, call.whole("queries")),))


def _hopskipjump(call: Call) -> Searches:
    return Searches((HopSkipJump(call.task, call.norm, call.eps, call.whole("queries")),))


def _adaptive(call: Call) -> Searches:
    return Searches(tuple(search for _, search in stages(call)), MOST_TARGETS)


Native = Searches | Direct

NATIVE_ATTACKS: dict[str, Callable[[Call], Native]] = {
    "fgsm": _fgsm,
    "pgd": _pgd,
    "mifgsm": _mifgsm,
    "segpgd": _segpgd,
    "apgd-ce": _apgd_ce,
    "apgd-dlr": _apgd_dlr,
    "apgd-t": _apgd_t,
    "fab-t": _fab_t,
    "fab": _fab,
    "deepfool": _deepfool,
    "cw": _cw,
    "ddn": _ddn,
    "fmn": _fmn,
    "square": _square,
    "nes": _nes,
    "spsa": _spsa,
    "rays": _rays,
    "hopskipjump": _hopskipjump,
    "autoattack": lambda call: Searches(autoattack(call), MOST_TARGETS),
    "adaptive": _adaptive,
    "pma": _pma,
    "mm": _mm,
    "fast-ensemble": lambda call: Searches(fast(call), MOST_TARGETS),
    "strongest-ensemble": lambda call: Searches(strongest(call), MOST_TARGETS),
}
"""Every native attack of the catalog; each maps a call to an attack on batches."""

DIRECT = ("fgsm", "fab")
"""The attacks that make the same passes on all samples, so that no sample can make place for another."""


def run_native(name: str, call: Call, batch: Batch) -> Found:
    """Return the candidates of the native attack of that name; for dense tasks the best points it evaluated."""
    if not is_dense(batch.labels):
        return _run(name, call, batch)
    points = best_seen(
        call.model, call.task, batch.inputs, batch.labels,
        lambda watched: _run(name, replace(call, model=watched, batch_dependent=True), batch).adv_inputs,
        batch_dependent=call.batch_dependent,
    )  # fmt: skip
    return Found(points)


def _run(name: str, call: Call, batch: Batch) -> Found:
    attack = NATIVE_ATTACKS[name](call)
    if isinstance(attack, Direct):
        return Found(attack.run(batch))
    memory = MemoryLimit(len(batch.seeds), fixed=True)  # the caller can halve the batch
    aimed = attack.aimed(call, batch, memory)
    if call.batch_dependent:
        return Found(whole_batch(call.model, call.task, attack.searches, aimed))
    if call.random:
        points, ended = most_often_wrong(call.model, call.task, attack.searches, aimed, call.eot)
        return Found(points, ended=ended)
    return next(refill(call.model, attack.searches, [aimed], memory))


def run_native_refilled(
    name: str,
    call: Call,
    batches: Iterable[Batch],
    memory: MemoryLimit,
    watch: Watch | None = None,
) -> Iterator[Found]:
    """Yield the candidates for each batch in order, with samples of later batches in the places of finished ones.

    Args:
        name: an attack that is not `DIRECT`, on samples with one label each and predictions independent of the batch.
        call: what it is run with.
        batches: read as room becomes free.
        memory: most samples per pass.
        watch: is told of every step.
    """
    attack = NATIVE_ATTACKS[name](call)
    assert isinstance(attack, Searches)
    aimed = (attack.aimed(call, batch, memory) for batch in batches)
    for found in refill(call.model, attack.searches, aimed, memory, watch=watch):
        aiming = call.eot * len(found.adv_inputs) if attack.targets else 0
        yield found._replace(forward_passes=found.forward_passes + aiming)
