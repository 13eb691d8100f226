"""Everything that comes before the first network is trained or attacked: inputs found and checked, batches planned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from stein_bench.config import DRAWS, RunConfig
from stein_bench.data.samples import Samples
from stein_bench.distributed import exchanged, rank, world_size
from stein_bench.evaluation.attack_choice import with_attack_network
from stein_bench.evaluation.batches import Setting
from stein_bench.evaluation.corrupted_images import BUDGET, CorruptedImages
from stein_bench.evaluation.journal import interrupted_batch_size
from stein_bench.evaluation.measured import measured
from stein_bench.evaluation.sharing import check_processes
from stein_bench.evaluation.surrogate import on_same_samples, plan_surrogate, with_surrogate_notes
from stein_bench.evaluation.time_limit import check_time_limit
from stein_bench.memory import MemoryLimit
from stein_bench.preparation.corrupted import check_baselines
from stein_bench.preparation.hidden_gradients import with_gradient_note
from stein_bench.preparation.inputs import check_values
from stein_bench.preparation.labels import position_note
from stein_bench.preparation.plan import Plan, check_model, prepare
from stein_bench.preparation.random_models import with_battery_for_random
from stein_bench.preparation.training_split import with_training_split
from stein_bench.preparation.untrained import with_untrained
from stein_bench.preparation.variants import NO_CONTROL, lacks_control
from stein_bench.progress import Progress


@dataclass(frozen=True)
class Started:
    """A checked run before its first network is built.

    Attributes:
        plan: what is evaluated.
        blank: the model without weights.
        surrogate: the plan of the surrogate that transfer attacks are crafted on, or None.
        setting: what all variants share.
    """

    plan: Plan
    blank: nn.Module
    surrogate: Plan | None
    setting: Setting


def start(config: RunConfig, progress: Progress, *, memory_ends_run: bool = False) -> Started:
    """Check what can be checked before anything is trained or attacked; an evaluation and a dry run share it.

    `memory_ends_run` is that of the `Setting`.

    Raises:
        UsageError: something is wrong with the input.
    """
    check_time_limit(config.timeout_per_batch)
    plan = prepare(config)
    plan, blank = with_untrained(plan)
    plan = with_battery_for_random(plan, blank)
    classes = check_model(plan, blank)
    plan = with_gradient_note(plan, blank)
    surrogate = plan_surrogate(plan, classes)
    plan = with_surrogate_notes(plan, surrogate)
    plan = replace(plan, samples=check_values(_with_position_note(plan, classes), progress))
    check_baselines(config.mce_baseline, plan.baselines, plan.samples)
    if plan.weights_kind == "fit" or (surrogate is not None and surrogate.weights_kind == "fit"):
        plan = with_training_split(plan, progress)
    surrogate = surrogate and on_same_samples(surrogate, plan)
    batch_size = _batch_size(plan, blank)
    if config.batch_size == "auto":
        progress.note(f"--batch-size auto: batches of {batch_size}")
    plan = with_attack_network(plan, blank, batch_size, progress)
    setting = Setting(
        plan.samples, measured(plan.task, plan.metrics, probabilities=plan.probabilities is not None), classes,
        batch_size, plan.workers, config.seed, plan.device,
        refill=plan.refill,
        memory=MemoryLimit(batch_size, partial(_note_halving, progress)),
        draws=config.draws or DRAWS,
        memory_ends_run=memory_ends_run,
        time_limit=config.timeout_per_batch,
        corrupted=CorruptedImages(BUDGET if len(plan.variants) > 1 else 0),
        rank=rank(),
        ranks=world_size(),
    )  # fmt: skip
    check_processes(setting)
    _announce(plan, batch_size, progress)
    return Started(plan, blank, surrogate, setting)


def _with_position_note(plan: Plan, outputs: int) -> Samples:
    """Return the samples, for a trained model with a remark if its outputs may not be the classes of the data."""
    trained = plan.weights_kind not in ("fit", "none")
    notes = position_note(plan.data, outputs) if trained else ()
    return replace(plan.samples, remarks=(*plan.samples.remarks, *notes))


def _batch_size(plan: Plan, network: nn.Module) -> int:
    """Return the number of samples per batch; an automatic one stays when a run is resumed, whatever is free now."""
    config, known = plan.config, None
    if config.resume and config.output is not None and config.batch_size == "auto":
        known = next((size for size in exchanged(interrupted_batch_size(config.output)) if size is not None), None)
    return known if known is not None else min(exchanged(plan.batch_size(network)))


def _note_halving(progress: Progress, most: int) -> None:
    progress.note(f"out of memory: continuing with at most {most} samples at once, on which no verdict depends")


def _announce(plan: Plan, batch_size: int, progress: Progress) -> None:
    shorthands = dict.fromkeys(attack.note for attack in plan.attacks if attack.note)
    for note in (*plan.model_notes(), *plan.data_notes(), *shorthands):
        progress.note(note)
    controls = [variant for variant in plan.variants if variant.control]
    if controls:
        progress.note("added plain BN under batch statistics, the control for the effect of the statistics source")
    if lacks_control(plan.variants):
        progress.note(NO_CONTROL)
    if any(variant.stats == "batch" for variant in plan.variants):
        progress.note(
            "under batch statistics a prediction depends on the batch; these numbers hold only for batches of "
            f"{batch_size} in data order"
        )
