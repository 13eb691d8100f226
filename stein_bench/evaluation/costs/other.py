"""The cost of all that is no attack: clean predictions, verification, corruptions, replays, checks, reading."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import nn

from stein_bench.attacks.attack import Attack
from stein_bench.attacks.losses import loss_gradient, task_loss
from stein_bench.attacks.passes import Passes
from stein_bench.diagnostics.probe import probe_count
from stein_bench.evaluation.batches import Evaluated, LoadedBatch, Setting, loaded_batches
from stein_bench.evaluation.checks import model_checks
from stein_bench.evaluation.corrupted_images import CorruptedImages
from stein_bench.evaluation.costs.lines import Line, Measured, timed
from stein_bench.evaluation.costs.recorder import Recorder
from stein_bench.evaluation.outcomes import clean_columns, corruption_columns, judged
from stein_bench.evaluation.replay import SINGLES
from stein_bench.guard import forked_rng, model_untouched
from stein_bench.models.probabilities import Probabilities
from stein_bench.preparation.plan import Plan
from stein_bench.progress import Silent

SMALL = 4
"""Samples of the small batches that are timed beside those of the run."""
CHECKED = 8
"""Samples on which the sanity checks are tried."""


def first_batches(setting: Setting, count: int = 2) -> tuple[list[LoadedBatch], float]:
    """Return the first batches of the run, and the seconds that reading one takes."""
    loaded = loaded_batches(setting)
    found, started = [next(loaded)], time.perf_counter()
    found += islice(loaded, count - 1)
    return found, (time.perf_counter() - started) / max(len(found) - 1, 1) if len(found) > 1 else 0.0


def sizes_of(batch: LoadedBatch) -> Sequence[int]:
    """Return the sizes at which passes are timed: a few samples, and the whole batch."""
    return sorted({min(SMALL, len(batch.ids)), len(batch.ids)})


@dataclass(frozen=True)
class PassTimes:
    """Seconds of a forward pass, and of a forward and a backward pass."""

    forward: Measured
    both: Measured

    def at(self, passes: Passes, samples: float, calls: float = 1.0) -> float:
        """Return the seconds of such passes per sample, in so many calls with so many samples in all."""
        both = min(passes.forward, passes.backward)
        return self.both.line.at(samples, calls) * both + self.forward.line.at(samples, calls) * (passes.forward - both)


def pass_times(evaluated: Evaluated, model: nn.Module, batch: LoadedBatch) -> PassTimes:
    """Time both kinds of passes of `model`, on two batches each."""
    setting, loss = evaluated.setting, task_loss(evaluated.setting.task)

    @torch.no_grad()
    def forward(count: int) -> None:
        model(batch.inputs[:count])

    def both(count: int) -> None:
        inputs, labels = batch.inputs[:count], batch.labels[:count]
        whole = evaluated.batch_dependent or setting.task.name == "segmentation"
        loss_gradient(model, inputs, labels, labels, loss, batch_dependent=whole)

    with forked_rng(setting.seed), model_untouched(model):
        sizes = sizes_of(batch)
        return PassTimes(timed(forward, sizes, setting.device), timed(both, sizes, setting.device))


def unit_seconds(
    evaluated: Evaluated, compute: Callable[[LoadedBatch], object], batch: LoadedBatch, *, whole: bool = False
) -> Line:
    """Time what is done once per batch, on the first batch and, unless only `whole` ones make sense, on a small one."""
    setting = evaluated.setting

    def run(count: int) -> None:
        with forked_rng(setting.seed), model_untouched(evaluated.model):
            compute(batch.part(slice(count)))

    sizes = sizes_of(batch)
    return timed(run, sizes[-1:] if whole else sizes, setting.device).line


def clean_seconds(evaluated: Evaluated, batch: LoadedBatch) -> Line:
    """Time the clean predictions of a batch."""
    return unit_seconds(evaluated, lambda part: clean_columns(evaluated, part), batch)


def verification_seconds(evaluated: Evaluated, together: Sequence[Attack], batch: LoadedBatch) -> Line:
    """Time the verification of the adversarial inputs of one run, for all its budgets."""
    return unit_seconds(evaluated, lambda part: judged(evaluated, together, part, part.inputs), batch)


def corruption_seconds(evaluated: Evaluated, attack: Attack, batch: LoadedBatch, *, makes: bool) -> Line:
    """Time the predictions under one draw of a corruption.

    Args:
        evaluated: the network.
        attack: the corruption.
        batch: of samples.
        makes: whether the images are made for this variant; others take those that were kept.
    """
    once = replace(attack, params={**attack.params, "seeds": 1})
    if makes:
        evaluated = replace(evaluated, setting=replace(evaluated.setting, corrupted=CorruptedImages(0)))
    return unit_seconds(evaluated, lambda part: corruption_columns(evaluated, once, part), batch)


def replay_seconds(evaluated: Evaluated, forward: Line) -> float:
    """Return the seconds of the replays of one attack under batch statistics."""
    setting = evaluated.setting
    count, batches = len(setting.samples), setting.batch_count
    shuffled = forward.at(count, batches) if batches > 1 else 0.0
    return shuffled + min(SINGLES, count) * (forward.at(min(setting.batch_size, count)) + forward.at(1))


def checks_seconds(plan: Plan, evaluated: Evaluated, probabilities: Probabilities | None, times: PassTimes) -> float:
    """Run the sanity checks on a few samples, and return the seconds that they take on all of theirs."""
    setting = evaluated.setting
    most = min(probe_count(plan.samples.shape, dense=plan.samples.maps is not None), len(plan.samples))
    count = min(most, setting.batch_size) if evaluated.batch_dependent else most
    few = min(CHECKED, count)
    recorder = Recorder(evaluated.model)
    watched = evaluated if probabilities is not None else replace(evaluated, model=recorder)
    started = time.perf_counter()
    model_checks(plan, watched, probabilities, Silent(), most=few)
    seconds = time.perf_counter() - started
    passes = Passes(recorder.forward_passes / few, recorder.backward_passes / few)
    if not recorder.calls:
        passes = Passes(60, 45)
    return seconds * times.at(passes, count) / max(times.at(passes, few), 1e-9)
