"""The evaluation loop: yields the finished units (variant, phase, batch) phase by phase, with per-sample outcomes.

Progress, saving and resuming rely only on these units, not on the internals of the loop.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from torch import Tensor, nn

from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.evaluation.batches import LoadedBatch, Setting, UnitKey, loaded_batches, unfinished
from stein_bench.evaluation.outcomes import (
    Compute,
    Computed,
    CountingModel,
    clean_columns,
    corruption_columns,
    fatal,
    in_parts,
    judged,
    message_of,
    seconds_since,
)
from stein_bench.evaluation.refilled import refilled_phase
from stein_bench.evaluation.replay import Kept, replay_shuffled, replay_singly
from stein_bench.evaluation.units import CLEAN, Columns, Unit, replay_phase
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.report.adversarials import Keeper
from stein_bench.seeds import derive_seed


def evaluate(
    variant: str,
    model: nn.Module,
    attacks: Sequence[Attack],
    setting: Setting,
    *,
    batch_dependent: bool = False,
    done: Collection[UnitKey] = frozenset(),
    keeper: Keeper | None = None,
) -> Iterator[tuple[str, Iterator[Unit]]]:
    """Evaluate one variant: the clean pass over all batches, then each attack in turn.

    Args:
        variant: its label in the units.
        model: maps [0, 1] to logits; it is left exactly as found between and after units.
        attacks: in the order in which they are run.
        setting: samples, task, batch size, seed and device.
        batch_dependent: whether the model evaluates with batch statistics.
        done: units that need not be recomputed.
        keeper: is offered adversarial inputs; those of `done` units are recomputed if it wants them.

    Yields:
        Each phase (`CLEAN`, an attack's label or, under batch statistics, its `replay_phase`) with its units,
        each computed on demand. An attack that raises an exception yields a failed unit and is not run on further
        batches; the other attacks continue.

    Raises:
        RunError: the clean pass failed.
    """
    yield CLEAN, _phase(variant, CLEAN, setting, done, partial(clean_columns, model, setting), batch_dependent)
    for attack in attacks:
        kept = Kept()
        yield attack.label, _attack_phase(variant, model, attack, setting, done, keeper, kept, batch_dependent)
        if batch_dependent and not attack.info.is_corruption:
            yield replay_phase(attack.label), _replayed(variant, model, attack, setting, kept, done)


def _attack_phase(
    variant: str,
    model: nn.Module,
    attack: Attack,
    setting: Setting,
    done: Collection[UnitKey],
    keeper: Keeper | None,
    kept: Kept,
    batch_dependent: bool,
) -> Iterator[Unit]:
    if attack.info.is_corruption:
        compute = partial(corruption_columns, model, attack, setting)
        return _phase(variant, attack.label, setting, done, compute, batch_dependent)
    if setting.refill and not batch_dependent and attack.refills(setting.task):
        return refilled_phase(variant, model, attack, setting, done, keeper)
    compute = partial(_attack_columns, variant, model, attack, setting, kept if batch_dependent else None, keeper)
    return _phase(variant, attack.label, setting, done, compute, batch_dependent, keeper)


def _phase(
    variant: str,
    phase: str,
    setting: Setting,
    done: Collection[UnitKey],
    compute: Compute,
    batch_dependent: bool,
    keeper: Keeper | None = None,
) -> Iterator[Unit]:
    for number, batch, again in unfinished(variant, phase, setting, done, keeper):
        unit = _timed_unit(variant, phase, number, batch, setting, compute, batch_dependent)
        if again:
            continue
        yield unit
        if unit.failed:
            return


def _timed_unit(
    variant: str,
    phase: str,
    number: int,
    batch: LoadedBatch,
    setting: Setting,
    compute: Compute,
    batch_dependent: bool,
) -> Unit:
    started = time.perf_counter()
    columns: Columns = {}
    forward = backward = 0
    message = ""
    try:
        # No native attack draws from the global RNG; if the model does, results are at least reproducible.
        with forked_rng(derive_seed(setting.seed, phase, *batch.ids)):
            if batch_dependent:
                columns, forward, backward = compute(batch)
            else:
                columns, forward, backward = in_parts(compute, batch, setting.memory)
    except Exception as error:
        ends_run = fatal(variant, phase, error, batch_dependent)
        if ends_run is not None:
            raise ends_run from error
        message = message_of(error)
    return Unit(
        variant, phase, number, batch.indices, columns, seconds_since(started, setting), forward, backward, message
    )


def _attack_columns(
    variant: str,
    model: nn.Module,
    attack: Attack,
    setting: Setting,
    kept: Kept | None,
    keeper: Keeper | None,
    batch: LoadedBatch,
) -> Computed:
    counting = CountingModel(_made_on(attack, model))
    with model_untouched(counting):
        adv_inputs = _attacked(counting, attack, setting, batch, batch_dependent=kept is not None)
    columns = judged(variant, model, attack, setting, keeper, batch, adv_inputs)
    if kept is not None:
        kept.add(batch.indices, batch.inputs, adv_inputs, batch.labels)
    return columns, counting.forward_passes, counting.backward_passes


def _made_on(attack: Attack, model: nn.Module) -> nn.Module:
    return model if attack.surrogate is None else attack.surrogate


def _attacked(
    model: nn.Module, attack: Attack, setting: Setting, batch: LoadedBatch, *, batch_dependent: bool
) -> Tensor:
    return attack.run(
        model, batch.inputs, batch.labels, setting.task,
        classes=setting.classes, seeds=attack_seeds(setting.seed, attack, batch.ids), batch_dependent=batch_dependent,
    )  # fmt: skip


def _replayed(
    variant: str, model: nn.Module, attack: Attack, setting: Setting, kept: Kept, done: Collection[UnitKey]
) -> Iterator[Unit]:
    """Replay the `kept` batches; nothing if the attack failed."""
    phase, numbers = replay_phase(attack.label), range(setting.batch_count)
    if all((variant, phase, number) in done for number in (0, 1)):
        return
    if any((variant, attack.label, number) in done for number in numbers):
        _attack_again(model, attack, setting, kept)
    if len(kept.batches) < setting.batch_count and not kept.full:
        return
    seed = derive_seed(setting.seed, attack.label)
    started = time.perf_counter()
    indices, columns = replay_shuffled(model, setting.task, kept, setting.device, seed)
    yield Unit(variant, phase, 0, indices, columns, time.perf_counter() - started)
    started = time.perf_counter()
    indices, columns = replay_singly(model, setting.task, kept, setting.device)
    yield Unit(variant, phase, 1, indices, columns, time.perf_counter() - started)
    kept.close()


def _attack_again(model: nn.Module, attack: Attack, setting: Setting, kept: Kept) -> None:
    """Recompute the adversarial inputs for which a resumed run has only verdicts; the seeds make them identical."""
    kept.close()
    maker = _made_on(attack, model)
    for batch in loaded_batches(setting):
        if kept.full:
            return
        with forked_rng(derive_seed(setting.seed, attack.label, *batch.ids)), model_untouched(maker):
            adv_inputs = _attacked(maker, attack, setting, batch, batch_dependent=True)
        kept.add(batch.indices, batch.inputs, adv_inputs, batch.labels)
