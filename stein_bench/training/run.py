"""Entry point of `stein-bench train`: a configuration in, trained weights and their card out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from stein_bench.distributed import check_same, is_main, process_group, wait_for_all, world_size
from stein_bench.errors import RunError, UsageError
from stein_bench.files import write_text
from stein_bench.models.weights import WeightsCard, save_weights, state_sha256
from stein_bench.normalization.names import estimator_identity, own_sha256
from stein_bench.offline import keeps_offline
from stein_bench.progress import Progress, Silent
from stein_bench.report.provenance import environment, package_versions
from stein_bench.training.card import (
    StartedFrom,
    TrainedData,
    TrainingCard,
    card_path,
    is_described,
    read_training_card,
)
from stein_bench.training.checkpoint import check_identity, checkpoint_path, load_checkpoint, plain, save_checkpoint
from stein_bench.training.config import TrainConfig
from stein_bench.training.fit import failure
from stein_bench.training.loop import Adversary, Training
from stein_bench.training.plan import TrainingPlan, plan_training, starting_network, with_sound_samples
from stein_bench.training.splits import epoch_batches

SHARED_DISK = "The output must be on a disk that all processes share."


@dataclass(frozen=True)
class TrainedNetwork:
    """The weights file of a finished training run, and its card."""

    path: Path
    card: TrainingCard


@keeps_offline
def run_training(config: TrainConfig, *, command: str = "", progress: Progress | None = None) -> TrainedNetwork:
    """Run `stein-bench train`, without printing and plotting.

    It writes ``config.output``, the card beside it (``.json``) and, after every epoch, a checkpoint from which
    ``config.resume`` continues; if the training is already finished, ``resume`` returns its result. Under `torchrun` it
    runs in all processes, and the first one writes.

    Args:
        config: what to train, and how.
        command: the command line, for the card.
        progress: receives progress and notes.

    Raises:
        UsageError: the input is invalid; nothing was trained.
        RunError: the training failed.
    """
    started, created = time.perf_counter(), datetime.now(UTC)
    plan = plan_training(config)
    with process_group(plan.device):
        progress = progress if progress is not None and is_main() else Silent()
        _check_processes(plan)
        for note in plan.base.model_notes():
            progress.note(note)
        if plan.attack is not None and plan.attack.note:
            progress.note(plan.attack.note)
        plan = with_sound_samples(plan, progress)
        network, start = starting_network(plan)
        identity = _identity(plan, network)
        check_same({f"the {name}": value for name, value in identity.items()}, "All must train the same.")
        finished = _finished(plan, identity)
        check_same({"whether the training is finished": finished is not None}, SHARED_DISK)
        if finished is not None:
            progress.note(f"{config.output} is already finished")
            return finished
        training = _training(plan, network)
        _restore(training, plan, identity, progress)
        check_same({"the checkpoint": len(training.history)}, SHARED_DISK)
        _run(training, plan, identity, progress)
        card = _card(plan, network, training, start, identity, created, command, time.perf_counter() - started)
        if is_main():
            card = _write(plan, network, card)
        wait_for_all()
    return TrainedNetwork(Path(config.output).expanduser(), card)


def _check_processes(plan: TrainingPlan) -> None:
    smallest = min(len(batch) for batch in epoch_batches(len(plan.data.train), plan.recipe.batch_size, 0, 0))
    if smallest < world_size():
        raise UsageError(f"{world_size()} processes, but only {smallest} samples in a batch: raise --batch-size.")


def _identity(plan: TrainingPlan, network: nn.Module) -> dict[str, Any]:
    """Return everything that determines the result of a training run."""
    base = plan.base
    matters = {
        "model": [base.source.spec, base.source.fingerprint()],
        "initial weights": state_sha256(network),
        "bn": estimator_identity(plan.bn),
        "data": plan.data.samples.sha256(),
        "scaling": [base.scaling.mean, base.scaling.std],
        "recipe": plan.recipe.document(),
        "adversarial": plan.attack.label if plan.attack is not None else None,
        "seed": plan.config.seed,
        "precision": plan.config.precision,
        "compile": plan.config.compile,
        "device": plan.device.type,
        "processes": world_size(),
        "packages": package_versions(),
    }
    return plain(matters)


def _finished(plan: TrainingPlan, identity: dict[str, Any]) -> TrainedNetwork | None:
    """Return the result of the same training if it is already finished and `resume` is set."""
    output = Path(plan.config.output).expanduser()
    card_file = card_path(output)
    if not plan.config.resume or checkpoint_path(output).exists() or not (output.exists() and card_file.exists()):
        return None
    card = read_training_card(card_file)
    check_identity(card_file, card.identity, identity)
    if not is_described(output):
        raise UsageError(f"{output} is not the weights file that {card_file} describes: move one of them away.")
    return TrainedNetwork(output, card)


def _training(plan: TrainingPlan, network: nn.Module) -> Training:
    adversary = Adversary(plan.attack, plan.outputs) if plan.attack is not None else None
    model = plan.base.wrap_for_training(network).to(plan.device)
    return Training(
        model, plan.data, plan.base.task, plan.recipe, seed=plan.config.seed, device=plan.device,
        adversary=adversary, compile=plan.config.compile, workers=plan.base.workers,
    )  # fmt: skip


def _restore(training: Training, plan: TrainingPlan, identity: dict[str, Any], progress: Progress) -> None:
    path = checkpoint_path(plan.config.output)
    if not path.exists():
        return
    if not plan.config.resume:
        raise UsageError(f"{path} holds an interrupted training run: add --resume to continue, or delete it.")
    training.load_state(load_checkpoint(path, identity, plan.device))
    progress.note(f"resuming after epoch {len(training.history)} of {plan.recipe.epochs}")


def _run(training: Training, plan: TrainingPlan, identity: dict[str, Any], progress: Progress) -> None:
    def after_epoch(now: Training) -> None:
        if is_main():
            save_checkpoint(checkpoint_path(plan.config.output), identity, now.state())
        progress.note(epoch_line(now))

    try:
        training.run(progress, f"train {plan.bn}", after_epoch)
    except (RuntimeError, ValueError) as error:  # what torch raises, out of memory included
        raise RunError(f"training {plan.base.source.name} failed: {failure(error)}") from error
    if training.stopped_early:
        progress.note(f"stopped after epoch {len(training.history)}: no improvement for {plan.recipe.patience} epochs")


def epoch_line(training: Training) -> str:
    """Return one line about the last epoch: its metrics, whether it is the best so far, and the time left."""
    record, epochs = training.history[-1], training.recipe.epochs
    parts = [f"loss {record.loss:.3f}", f"accuracy {100 * record.accuracy:.1f} %"]
    if record.validation_loss is not None and record.validation_accuracy is not None:
        parts.append(f"validation {record.validation_loss:.3f}, {100 * record.validation_accuracy:.1f} %")
    if record.validation_robust_accuracy is not None:
        parts.append(f"robust {100 * record.validation_robust_accuracy:.1f} %")
    if training.best_epoch == record.epoch:
        parts.append("best so far")
    mean = sum(past.seconds for past in training.history) / record.epoch
    left = f", at most {_duration(mean * (epochs - record.epoch))} left" if not training.finished else ""
    return f"epoch {record.epoch}/{epochs}: {', '.join(parts)}; {record.seconds:.1f} s{left}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _card(
    plan: TrainingPlan,
    network: nn.Module,
    training: Training,
    start: StartedFrom | None,
    identity: dict[str, Any],
    created: datetime,
    command: str,
    seconds: float,
) -> TrainingCard:
    config, base, samples = plan.config, plan.base, plan.data.samples
    return TrainingCard(
        created=created.isoformat(timespec="seconds"),
        command=command,
        model=base.source.spec,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        bn=plan.bn,
        data=TrainedData(
            name=base.data.name, split=samples.split, task=base.data.task, classes=len(base.data.classes),
            shape=samples.shape, trained_on=len(plan.data.train), validated_on=len(plan.data.validation),
            sha256=samples.sha256(), notes=list(samples.notes()) or None,
        ),
        recipe={"name": config.recipe, **plan.recipe.document()},
        adversarial=plan.attack.label if plan.attack is not None else None,
        started_from=start,
        seed=config.seed,
        processes=world_size(),
        epochs=tuple(training.history),
        best_epoch=training.best_epoch,
        kept_epoch=training.kept_epoch,
        stopped_early=training.stopped_early,
        weights=Path(config.output).name,
        weights_sha256="",
        config=config.document(),
        identity=identity,
        environment=environment(plan.device, config.precision),
        wall_seconds=seconds,
    )  # fmt: skip


def _write(plan: TrainingPlan, network: nn.Module, card: TrainingCard) -> TrainingCard:
    """Write weights and card, remove the checkpoint, and return the card with the file's hash."""
    recipe = {
        **card.recipe,
        "adversarial": card.adversarial,
        "started_from": card.started_from.model_dump() if card.started_from is not None else None,
    }
    inner = WeightsCard(
        model=card.model, bn=card.bn, num_classes=plan.base.num_classes or plan.outputs, mean=plan.base.scaling.mean,
        std=plan.base.scaling.std, input_shape=card.data.shape, data=card.data.name, recipe=recipe, seed=card.seed,
        estimator_sha256=own_sha256(plan.bn),
    )  # fmt: skip
    output = Path(plan.config.output).expanduser()
    card = card.model_copy(update={"weights_sha256": save_weights(output, network, inner)})
    write_text(card_path(output), card.to_json())
    checkpoint_path(output).unlink(missing_ok=True)
    return card
