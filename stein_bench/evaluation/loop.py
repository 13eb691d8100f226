"""The evaluation loop: yields the finished units (variant, phase, batch) phase by phase, with per-sample outcomes.

Progress, saving and resuming rely only on these units, not on the internals of the loop.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from stein_bench.attacks.attack import Attack, attack_seeds, by_run
from stein_bench.attacks.refill import Found
from stein_bench.distributed import exchanged, is_main
from stein_bench.evaluation.batches import Evaluated, LoadedBatch, Pending, Setting, loaded_batches
from stein_bench.evaluation.outcomes import (
    Compute,
    Computed,
    CountingModel,
    clean_columns,
    corruption_columns,
    failure_of,
    fatal,
    in_parts,
    judged,
    out_of_memory,
    seconds_since,
    with_searches,
)
from stein_bench.evaluation.refilled import refilled_phase
from stein_bench.evaluation.replay import Kept, Replayed, replay_shuffled, replay_singly, replayed_batches
from stein_bench.evaluation.time_limit import limited
from stein_bench.evaluation.together import failed_units, hanging, units_of
from stein_bench.evaluation.units import CLEAN, Unit, replay_phase
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.seeds import derive_seed


def evaluate(evaluated: Evaluated, attacks: Sequence[Attack]) -> Iterator[tuple[str, Iterator[Unit]]]:
    """Evaluate one variant: the clean pass over all batches, then each attack in turn.

    Args:
        evaluated: the variant's model, and how it is evaluated.
        attacks: in the order in which they are run.

    Yields:
        Each phase (`CLEAN`, an attack's label or, under batch statistics, its `replay_phase`) with its units,
        each computed on demand. Attacks that differ in a budget which they ignore are run once: the phase of the first
        comes with the units of all. An attack that raises an exception yields a failed unit and is not run on further
        batches; the other attacks continue.

    Raises:
        RunError: the clean pass failed, or memory ran out in a replay.
    """
    yield CLEAN, _phase(evaluated, (CLEAN,), partial(clean_columns, evaluated))
    for together in by_run(attacks):
        kept = Kept(_replayed_batches(evaluated.setting))
        if any(attack.label in evaluated.given_up for attack in together):
            kept.failed = True
            continue
        yield together[0].label, _noting_failure(_attack_phase(evaluated, together, kept), kept)
        if evaluated.batch_dependent and not together[0].info.is_corruption:
            for attack in together:
                yield replay_phase(attack.label), _replayed(evaluated, attack, together, kept)


def _replayed_batches(setting: Setting) -> int:
    sizes = (len(setting.rows(number)) for number in range(setting.batch_count))
    return replayed_batches(sizes, 4 * math.prod(setting.samples.shape))


def _noting_failure(units: Iterator[Unit], kept: Kept) -> Iterator[Unit]:
    for unit in units:
        kept.failed = kept.failed or unit.failed
        yield unit


def _attack_phase(evaluated: Evaluated, together: Sequence[Attack], kept: Kept) -> Iterator[Unit]:
    """Yield the units of attacks with the same run."""
    setting, attack, labels = evaluated.setting, together[0], [attack.label for attack in together]
    if attack.info.is_corruption:
        return _phase(replace(evaluated, keeper=None), labels, partial(corruption_columns, evaluated, attack))
    if setting.refill and attack.refills(setting.task) and evaluated.independent:
        return refilled_phase(evaluated, together)
    whole = attack.info.backend != "native"  # others draw their random numbers for the whole batch
    compute = partial(_attack_columns, evaluated, together, kept)
    return _phase(evaluated, labels, compute, seeded_by=attack.run_label, whole=whole)


def _phase(
    evaluated: Evaluated, phases: Sequence[str], compute: Compute, *, seeded_by: str = "", whole: bool = False
) -> Iterator[Unit]:
    """Yield the units of phases that are computed together.

    Args:
        evaluated: the variant.
        phases: at least one.
        compute: returns the columns of all of them.
        seeded_by: seeds the global RNG; by default the first phase.
        whole: the batch must not be split, although its samples are independent.
    """
    for pending in evaluated.unfinished(*phases):
        units = _timed_units(evaluated, phases, pending, compute, seeded_by or phases[0], whole)
        if not pending.missing:
            continue
        yield from units
        if any(unit.failed for unit in units):
            return


def _timed_units(
    evaluated: Evaluated, phases: Sequence[str], pending: Pending, compute: Compute, seeded_by: str, whole: bool
) -> list[Unit]:
    started = time.perf_counter()
    setting, batch = evaluated.setting, pending.batch
    try:
        # No native attack draws from the global RNG; if the model does, results are at least reproducible.
        with forked_rng(derive_seed(setting.seed, seeded_by, *batch.ids)):
            if evaluated.batch_dependent or whole:
                columns, *passes = compute(batch)
            else:
                columns, *passes = in_parts(compute, batch, setting.memory)
    except Exception as error:
        ends_run = fatal(evaluated, phases[0], error)
        if ends_run is not None:
            raise ends_run from error
        message = failure_of(evaluated, error, whole=whole)
        return failed_units(evaluated, phases, pending, message, seconds_since(started, setting))
    return units_of(evaluated, phases, pending, columns, seconds_since(started, setting), *passes)


def _attack_columns(evaluated: Evaluated, together: Sequence[Attack], kept: Kept, batch: LoadedBatch) -> Computed:
    attack = together[0]
    counting = CountingModel(evaluated.attacked_by(attack))
    with model_untouched(counting):
        found = limited(
            evaluated.setting.time_limit,
            partial(_attacked, counting, evaluated, attack, batch),
            hanging(evaluated, [attack.label for attack in together], batch),
        )
    columns = with_searches(judged(evaluated, together, batch, found.adv_inputs), attack, found)
    if evaluated.batch_dependent:
        number = int(batch.indices[0]) // evaluated.setting.batch_size
        kept.add(number, batch.indices, batch.inputs, found.adv_inputs, batch.labels)
    return columns, counting.forward_passes, counting.backward_passes


def _attacked(model: nn.Module, evaluated: Evaluated, attack: Attack, batch: LoadedBatch) -> Found:
    setting = evaluated.setting
    return attack.find(
        model, batch.inputs, batch.labels, setting.task,
        classes=setting.classes, seeds=attack_seeds(setting.seed, attack, batch.ids),
        batch_dependent=evaluated.batch_dependent, strategy=evaluated.strategies.get(attack.label),
        random=evaluated.random,
    )  # fmt: skip


def _replayed(evaluated: Evaluated, attack: Attack, together: Sequence[Attack], kept: Kept) -> Iterator[Unit]:
    """Replay the `kept` batches of attacks with the same run for one of them; nothing if the attack failed.

    The first process replays, with what all of them have kept.
    """
    variant, setting = evaluated.variant, evaluated.setting
    phase = replay_phase(attack.label)
    if all((variant, phase, number) in evaluated.done for number in (0, 1)):
        return
    if any(exchanged(kept.failed)):
        return
    try:
        _attack_again(evaluated, attack, kept)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(evaluated, phase) from error
    kept.complete()
    if not is_main():
        return
    shuffled = partial(replay_shuffled, seed=derive_seed(setting.seed, attack.label))
    replays: tuple[Callable[..., Replayed], ...] = (shuffled, replay_singly)
    for number, replay in enumerate(replays):
        started = time.perf_counter()
        try:
            indices, columns = replay(evaluated.model, setting.task, kept, setting.device)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(evaluated, phase) from error
        yield Unit(variant, phase, number, indices, columns, time.perf_counter() - started)
    if attack is together[-1]:
        kept.close()


def _attack_again(evaluated: Evaluated, attack: Attack, kept: Kept) -> None:
    """Recompute the adversarial inputs for which a resumed run has only verdicts; the seeds make them identical."""
    setting, maker = evaluated.setting, evaluated.attacked_by(attack)
    numbers = kept.missing(setting.own)
    for number, batch in zip(numbers, loaded_batches(setting, numbers), strict=True):
        with forked_rng(derive_seed(setting.seed, attack.run_label, *batch.ids)), model_untouched(maker):
            adv_inputs = _attacked(maker, evaluated, attack, batch).adv_inputs
        kept.add(number, batch.indices, batch.inputs, adv_inputs, batch.labels)
