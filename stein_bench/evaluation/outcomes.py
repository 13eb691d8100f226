"""From a batch to its columns: predictions, corruptions, and adversarial inputs with their verification."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from stein_bench.attacks.adaptive import ADAPTIVE
from stein_bench.attacks.attack import Attack, attack_seeds
from stein_bench.attacks.draws import Draws, predicted
from stein_bench.attacks.noise import corrupt
from stein_bench.attacks.refill import Found
from stein_bench.attacks.verify import Verdicts, verify
from stein_bench.errors import OutOfMemoryRunError, RunError, SteinBenchError
from stein_bench.evaluation.attack_network import disagreements
from stein_bench.evaluation.batches import Evaluated, LoadedBatch, Setting
from stein_bench.evaluation.examples import Attacked, offer
from stein_bench.evaluation.units import CLEAN, DISAGREES, DISTANCE, DRAWN, ENDED, Columns, numbered
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.host import download, upload
from stein_bench.memory import MemoryLimit, ran_out
from stein_bench.seeds import derive_seed

Computed = tuple[dict[str, Columns], int, int]
"""Columns by phase, and the numbers of forward and backward passes, in samples."""


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

    def add_passes(self, forward: int, backward: int) -> None:
        """Count passes through the model that its own forward method did not see."""
        self.forward_passes += forward
        self.backward_passes += backward

    def _count_backward(self, samples: int) -> None:
        self.backward_passes += samples


class Counted(nn.Module):
    """A model whose passes are added to those that another one counts, if it does (`CountingModel`).

    Args:
        model: makes the passes.
        counter: the other one, perhaps behind a view of two logits.
    """

    def __init__(self, model: nn.Module, counter: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        found = (counter, getattr(counter, "model", None))
        self._counters = [one for one in found if isinstance(one, CountingModel)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the model's outputs."""
        outputs: Tensor = self.model(inputs)
        for counter in self._counters:
            counter.add_passes(len(inputs), 0)
            if outputs.requires_grad:
                outputs.register_hook(partial(_count_backward, counter, len(inputs)))  # type: ignore[no-untyped-call]
        return outputs


def _count_backward(counter: CountingModel, samples: int, _: Tensor) -> None:
    counter.add_passes(0, samples)


Compute = Callable[[LoadedBatch], Computed]
"""Maps a batch to the columns of all phases that are computed together, and the passes."""


def in_parts(compute: Compute, batch: LoadedBatch, memory: MemoryLimit) -> Computed:
    """Compute a batch of independent samples in parts that fit into memory."""
    parts = memory.in_parts(len(batch.ids), lambda rows: compute(batch.part(rows)))
    columns = {phase: joined([found[phase] for found, _, _ in parts]) for phase in parts[0][0]}
    return columns, sum(f for _, f, _ in parts), sum(b for _, _, b in parts)


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the columns of consecutive parts of a batch as those of the whole."""
    return {name: np.concatenate([columns[name] for columns in parts]) for name in parts[0]}


@torch.no_grad()
def clean_columns(evaluated: Evaluated, batch: LoadedBatch) -> Computed:
    """Predict the clean inputs; of a random model, in several draws."""
    draws = evaluated.draws(CLEAN, batch.ids)
    with model_untouched(evaluated.model):
        found = predicted(partial(_logits, evaluated), batch.inputs, batch.labels, evaluated.setting.task, draws)
    passes = 1 if draws is None else len(draws.selecting) + len(draws.fresh)
    return {CLEAN: download({**found.outcomes, "finite": found.finite})}, passes * len(batch.inputs), 0


def _logits(evaluated: Evaluated, inputs: Tensor) -> Tensor:
    """Return the outputs of the model, which must have the shape that they had when it was tried."""
    logits: Tensor = evaluated.model(inputs)
    samples, classes, shape = len(inputs), evaluated.setting.classes, tuple(logits.shape)
    if evaluated.setting.task.name != "binary" and shape[:2] != (samples, classes):
        raise RunError(f"the model returns shape {shape} for {samples} samples; expected ({samples}, {classes}).")
    return logits


def corruption_draws(attack: Attack, own: Draws | None) -> int:
    """Return how often a batch is predicted under a corruption; `own` are the draws of a random model."""
    return attack.draws if own is None or not attack.info.is_common else len(own.fresh)


@torch.no_grad()
def corruption_columns(evaluated: Evaluated, attack: Attack, batch: LoadedBatch) -> Computed:
    """Predict the batch under each draw of the corruption; non-finite outputs count as wrong.

    A random model makes one draw of its own for each, and as many as on the clean input under a common corruption,
    which is drawn once: the mean over the draws is an expected accuracy.
    """
    model, setting = evaluated.model, evaluated.setting
    seeds, columns = attack_seeds(setting.seed, attack, batch.ids), dict[str, Tensor]()
    own = evaluated.draws(attack.label, batch.ids)
    draws = corruption_draws(attack, own)
    with model_untouched(model):
        for number in range(draws):
            inputs = _corrupted(evaluated, attack, batch, seeds, 0 if attack.info.is_common else number)
            with nullcontext() if own is None else forked_rng(derive_seed(own.fresh[0], number)):
                logits: Tensor = model(inputs)
            found = setting.task.outcomes(logits, batch.labels)
            if evaluated.random:  # as on the clean input, see `predicted`
                found.pop("confidence", None)
            columns |= numbered(found, number)
    return {attack.label: download(columns)}, draws * len(batch.inputs), 0


def _corrupted(evaluated: Evaluated, attack: Attack, batch: LoadedBatch, seeds: Sequence[int], number: int) -> Tensor:
    if not attack.info.is_common:
        return corrupt(attack.name, attack.params, batch.inputs, seeds, number)
    key = attack.label, number, int(batch.indices[0]), len(batch.ids)
    found = evaluated.setting.corrupted.get(key, lambda: attack.corrupted(batch.inputs, batch.indices, seeds, number))
    return upload(found, batch.inputs.device)


def judged(
    evaluated: Evaluated, together: Sequence[Attack], batch: LoadedBatch, adv_inputs: Tensor
) -> dict[str, Columns]:
    """Verify the adversarial inputs of one run, offer them to the keeper and return their columns by attack.

    Args:
        evaluated: the variant.
        together: the attacks that the run serves; they differ at most in a budget that they ignore.
        batch, adv_inputs: the samples and what the run found for them.
    """
    verdicts = {attack.label: _verified(evaluated, attack, batch, adv_inputs) for attack in together}
    columns = {label: found.columns() for label, found in verdicts.items()}
    maker = evaluated.attacked_by(together[0])
    for attack in together:
        found = verdicts[attack.label]
        if attack.info.minimal:
            columns[attack.label][DISTANCE] = found.distance
        if maker is evaluated.attack_model and not evaluated.random:  # single draws differ on one network as well
            columns[attack.label][DISAGREES] = disagreements(
                maker, batch.inputs, adv_inputs, batch.labels, evaluated.setting.task, found.outcomes
            )
    # Last, for all at once: if memory runs out before, all of this is done again.
    keeper, model = evaluated.keeper, evaluated.model
    wanted = {} if keeper is None else {k: v for k, v in verdicts.items() if keeper.wants(evaluated.variant, k)}
    if keeper is not None and wanted:
        clean = clean_columns(evaluated, batch)[0][CLEAN] if evaluated.random else None
        attacked = Attacked(batch.indices, batch.ids, batch.inputs, adv_inputs, batch.labels, wanted, clean)
        offer(keeper, evaluated.variant, model, evaluated.setting.task, attacked)
    return columns


def _verified(evaluated: Evaluated, attack: Attack, batch: LoadedBatch, adv_inputs: Tensor) -> Verdicts:
    with model_untouched(evaluated.model):
        return verify(
            evaluated.model, batch.inputs, adv_inputs, batch.labels, evaluated.setting.task,
            norm=attack.norm, eps=attack.eps, respects_eps=attack.info.respects_eps,
            draws=evaluated.draws(attack.label, batch.ids),
        )  # fmt: skip


def with_searches(columns: dict[str, Columns], attack: Attack, found: Found) -> dict[str, Columns]:
    """Return the columns by attack, with which samples ended in a search made on a random subset.

    Those of an adaptive attack also get the search in which each sample ended.
    """
    own: Columns = {} if found.drawn is None else {DRAWN: np.array(found.drawn, np.bool_)}
    if attack.name == ADAPTIVE and found.ended is not None:
        own[ENDED] = np.array(found.ended, np.int16)
    return {label: {**its, **own} for label, its in columns.items()}


def message_of(error: Exception) -> str:
    """Return an error of an attack or a model in one line."""
    if isinstance(error, SteinBenchError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def failure_of(evaluated: Evaluated, error: Exception, *, whole: bool = False) -> str:
    """Return why an attack has failed, in one line; if memory ran out, with what to do.

    `whole`: the attack draws its random numbers for the whole batch.
    """
    if not ran_out(error):
        return message_of(error)
    if whole and not evaluated.batch_dependent:
        return (
            "out of memory. It draws its random numbers for the whole batch, which is therefore not split: choose a "
            "smaller --batch-size."
        )
    return _memory_advice(evaluated, split=isinstance(error, torch.OutOfMemoryError))


def fatal(evaluated: Evaluated, phase: str, error: Exception) -> RunError | None:
    """Return the error that ends the run after `error`, or None if only the attack has failed."""
    if ran_out(error) and (phase == CLEAN or evaluated.setting.memory_ends_run):
        # Only errors of this class are answered by smaller parts of the batch.
        return out_of_memory(evaluated, phase, split=phase == CLEAN and isinstance(error, torch.OutOfMemoryError))
    return RunError(f"{evaluated.variant}: the clean pass failed: {message_of(error)}") if phase == CLEAN else None


def out_of_memory(evaluated: Evaluated, phase: str, *, split: bool = True) -> OutOfMemoryRunError:
    """Return the error for memory that ran out on a batch.

    Args:
        evaluated, phase: where it did.
        split: under running statistics, smaller parts of the batch were tried, down to a single sample.
    """
    where = f"{evaluated.variant}, {phase}"
    return OutOfMemoryRunError(f"{where}: {_memory_advice(evaluated, split=split)}", evaluated.setting.batch_size)


def _memory_advice(evaluated: Evaluated, *, split: bool) -> str:
    if evaluated.batch_dependent:
        return (
            "out of memory. Under batch statistics the batch is part of the question, so it is not split: choose a "
            "smaller --batch-size; the results will be those of that size."
        )
    if split or evaluated.setting.batch_size == 1:
        return "out of memory on a single sample; try --device cpu."
    return f"out of memory with batches of {evaluated.setting.batch_size}: choose a smaller --batch-size."


def seconds_since(started: float, setting: Setting) -> float:
    """Return the seconds since `started` (by `time.perf_counter`), the work that waits on the device included."""
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
    return time.perf_counter() - started
