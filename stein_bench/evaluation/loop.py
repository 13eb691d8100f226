"""The evaluation loop: yields the finished units (variant, phase, batch) phase by phase, with per-sample outcomes.

Progress, saving and resuming rely only on these units, not on the internals of the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.noise import corrupt
from stein_bench.attacks.verify import verify
from stein_bench.data.samples import Samples, batches
from stein_bench.errors import RunError
from stein_bench.evaluation.examples import Attacked, offer
from stein_bench.evaluation.replay import Kept, replay_shuffled, replay_singly
from stein_bench.evaluation.units import CLEAN, DISTANCE, Columns, Unit, numbered, replay_phase
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.report.adversarials import Keeper
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task, finite_rows

UnitKey = tuple[str, str, int]
"""Variant, phase and batch of a unit."""


@dataclass(frozen=True)
class Setting:
    """Settings shared by all variants of a run.

    Attributes:
        samples: the samples to evaluate, in data order.
        task: defines loss and success.
        classes: number of model outputs.
        batch_size, workers: how samples are loaded; under running statistics they do not affect the verdicts of
            native attacks.
        seed: the run's seed.
        device: the model's device.
    """

    samples: Samples
    task: Task
    classes: int
    batch_size: int
    workers: int
    seed: int
    device: torch.device

    @property
    def batch_count(self) -> int:
        """Number of batches of one phase."""
        return -(-len(self.samples) // self.batch_size)


class CountingModel(nn.Module):
    """A model that counts its forward and backward passes, in samples; outputs and gradients are unchanged."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forward_passes = 0
        self.backward_passes = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs and count one forward pass per sample."""
        outputs: Tensor = self.model(inputs)
        samples = len(inputs)
        self.forward_passes += samples
        if outputs.requires_grad:
            outputs.register_hook(lambda _: self._count_backward(samples))  # type: ignore[no-untyped-call]
        return outputs

    def _count_backward(self, samples: int) -> None:
        self.backward_passes += samples


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
    yield CLEAN, _phase(variant, CLEAN, setting, done, partial(_clean_columns, model, setting))
    for attack in attacks:
        corruption, kept = attack.info.is_corruption, Kept()
        compute = (
            partial(_corruption_columns, model, attack, setting)
            if corruption
            else partial(_attack_columns, variant, model, attack, setting, kept if batch_dependent else None, keeper)
        )
        yield attack.label, _phase(variant, attack.label, setting, done, compute, None if corruption else keeper)
        if batch_dependent and not corruption:
            yield replay_phase(attack.label), _replayed(variant, model, attack, setting, kept, done)


@dataclass(frozen=True)
class _Batch:
    indices: NDArray[np.int64]
    inputs: Tensor
    labels: Tensor
    ids: tuple[str, ...]


Compute = Callable[[_Batch], tuple[Columns, int, int]]


def _phase(
    variant: str,
    phase: str,
    setting: Setting,
    done: Collection[UnitKey],
    compute: Compute,
    keeper: Keeper | None = None,
) -> Iterator[Unit]:
    numbers = range(setting.batch_count)
    finished = {number for number in numbers if (variant, phase, number) in done}
    if len(finished) == len(numbers) and not (keeper and any(keeper.wants_again(variant, phase, n) for n in numbers)):
        return
    for number, batch in enumerate(_batches(setting)):
        if number in finished:
            if keeper is not None and keeper.wants_again(variant, phase, number):
                _timed_unit(variant, phase, number, batch, setting, compute)  # recomputed only for the keeper
            continue
        unit = _timed_unit(variant, phase, number, batch, setting, compute)
        yield unit
        if unit.failed:
            return


def _batches(setting: Setting) -> Iterator[_Batch]:
    for indices, inputs, labels in batches(setting.samples, setting.batch_size, workers=setting.workers):
        ids = tuple(setting.samples.ids[i] for i in indices)
        yield _Batch(indices, inputs.to(setting.device), labels.to(setting.device), ids)


def _timed_unit(variant: str, phase: str, number: int, batch: _Batch, setting: Setting, compute: Compute) -> Unit:
    started = time.perf_counter()
    columns: Columns = {}
    forward = backward = 0
    message = ""
    try:
        # No native attack draws from the global RNG; if the model does, results are at least reproducible.
        with forked_rng(derive_seed(setting.seed, phase, *batch.ids)):
            columns, forward, backward = compute(batch)
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        if phase == CLEAN:
            raise RunError(f"{variant}: the clean pass failed: {message}") from error
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
    seconds = time.perf_counter() - started
    return Unit(variant, phase, number, batch.indices, columns, seconds, forward, backward, message)


@torch.no_grad()
def _clean_columns(model: nn.Module, setting: Setting, batch: _Batch) -> tuple[Columns, int, int]:
    with model_untouched(model):
        logits: Tensor = model(batch.inputs)
    columns = _outcomes(setting.task, logits, batch.labels)
    return {**columns, "finite": finite_rows(logits).cpu().numpy()}, len(batch.inputs), 0


def _outcomes(task: Task, logits: Tensor, labels: Tensor) -> Columns:
    return {name: column.cpu().numpy() for name, column in task.outcomes(logits, labels).items()}


@torch.no_grad()
def _corruption_columns(model: nn.Module, attack: Attack, setting: Setting, batch: _Batch) -> tuple[Columns, int, int]:
    """Predict the batch under each draw of the noise; non-finite outputs count as wrong."""
    seeds, columns = attack_seeds(setting.seed, attack, batch.ids), dict[str, NDArray[np.generic]]()
    draws = int(attack.params["seeds"])
    with model_untouched(model):
        for number in range(draws):
            logits: Tensor = model(corrupt(attack.info.name, attack.params, batch.inputs, seeds, number))
            columns |= numbered(_outcomes(setting.task, logits, batch.labels), number)
    return columns, draws * len(batch.inputs), 0


def _attack_columns(
    variant: str,
    model: nn.Module,
    attack: Attack,
    setting: Setting,
    kept: Kept | None,
    keeper: Keeper | None,
    batch: _Batch,
) -> tuple[Columns, int, int]:
    counting = CountingModel(_made_on(attack, model))
    with model_untouched(counting):
        adv_inputs = _attacked(counting, attack, setting, batch, batch_dependent=kept is not None)
    with model_untouched(model):
        verdicts = verify(
            model, batch.inputs, adv_inputs, batch.labels, setting.task,
            norm=attack.norm, eps=attack.eps, respects_eps=attack.info.respects_eps,
        )  # fmt: skip
    if kept is not None:
        kept.add(batch.indices, batch.inputs, adv_inputs, batch.labels)
    if keeper is not None and keeper.wants(variant, attack.label):
        attacked = Attacked(batch.indices, batch.ids, batch.inputs, adv_inputs, batch.labels, verdicts)
        offer(keeper, variant, attack.label, model, setting.task, attacked)
    columns = verdicts.columns() | ({DISTANCE: verdicts.distance} if attack.info.minimal else {})
    return columns, counting.forward_passes, counting.backward_passes


def _made_on(attack: Attack, model: nn.Module) -> nn.Module:
    return model if attack.surrogate is None else attack.surrogate


def _attacked(model: nn.Module, attack: Attack, setting: Setting, batch: _Batch, *, batch_dependent: bool) -> Tensor:
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
    for batch in _batches(setting):
        if kept.full:
            return
        with forked_rng(derive_seed(setting.seed, attack.label, *batch.ids)), model_untouched(maker):
            adv_inputs = _attacked(maker, attack, setting, batch, batch_dependent=True)
        kept.add(batch.indices, batch.inputs, adv_inputs, batch.labels)
