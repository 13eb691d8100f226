"""The training loop: epochs over the training part of a split, each followed by validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from stein_bench.attacks.attack import Attack
from stein_bench.data.samples import Samples, Workers, read_chunks, to_device
from stein_bench.distributed import own_part, rank, sum_over_processes, world_size
from stein_bench.errors import RunError
from stein_bench.guard import copied_state, forked_rng, model_untouched, repeatable_backends
from stein_bench.models.outputs import logits as model_logits
from stein_bench.normalization.together import synchronized_batchnorm
from stein_bench.progress import Progress, Silent, phase
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task
from stein_bench.training.augment import augment
from stein_bench.training.card import EpochRecord
from stein_bench.training.objective import merit, smoothed_loss
from stein_bench.training.parallel import averaging_gradients
from stein_bench.training.recipes import Recipe
from stein_bench.training.schedule import make_optimizer, make_schedule
from stein_bench.training.splits import epoch_batches

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Samples with the indices of the training part and of the validation part, which may be empty."""

    samples: Samples
    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class Adversary:
    """The attack for adversarial training, and the model's number of outputs."""

    attack: Attack
    classes: int


class Training:
    """One training of `model`, in place, which can be saved and resumed between epochs.

    The result depends only on the model's initial state, the data, the recipe and the seed: every epoch's order,
    augmentation, random starts and dropout derive from (seed, epoch, sample id), so neither prefetching nor an
    interruption between epochs changes it. Several processes split each batch among them; BN statistics and gradients
    are those of the whole batch.

    Adversarial training (Madry et al. 2018) replaces every batch by adversarial inputs, with all steps of the attack on
    all samples. The network is attacked in evaluation mode, with running statistics: that is the network whose
    robustness is reported, each sample is attacked independently, and unfinished perturbations update neither running
    averages nor `count`. (Madry et al. attacked in training mode; Pang et al., "Bag of tricks for adversarial training"
    (2021), section 3.2, find that evaluation mode costs no robustness and keeps more clean accuracy.) The update itself
    is in training mode, on the adversarial batch alone.

    Args:
        model: maps inputs in [0, 1] to logits.
        data: samples with their training and validation part.
        task: defines loss and correctness.
        recipe: how to train.
        seed: of all randomness.
        device: where to train.
        adversary: for adversarial training.
        compile: run the model through `torch.compile`.
        workers: processes that read data ahead.

    Attributes:
        history: a record of every finished epoch.
        best_epoch: number of the best epoch so far by validation, None without validation.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TrainingSet,
        task: Task,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        adversary: Adversary | None = None,
        compile: bool = False,
        workers: Workers = 0,
    ) -> None:
        self.model, self.data, self.task, self.recipe = model.to(device), data, task, recipe
        self.seed, self.device, self.adversary, self.workers = seed, device, adversary, workers
        self.history: list[EpochRecord] = []
        self.best_epoch: int | None = None
        self._best_state: State | None = None
        self._last_rate = recipe.learning_rate
        self._callable = cast(nn.Module, torch.compile(model)) if compile else model
        self._optimizer = make_optimizer(model.parameters(), recipe)
        steps = len(epoch_batches(len(data.train), recipe.batch_size, 0, seed))
        self._schedule = make_schedule(self._optimizer, recipe, steps)

    @property
    def stopped_early(self) -> bool:
        """Whether the recipe's patience ran out before its last epoch."""
        done, patience = len(self.history), self.recipe.patience
        return patience is not None and self.best_epoch is not None and done - self.best_epoch >= patience

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return len(self.history) >= self.recipe.epochs or self.stopped_early

    @property
    def kept_epoch(self) -> int:
        """Number of the epoch whose weights the finished model has."""
        return self.best_epoch if self._keeps_best and self.best_epoch is not None else len(self.history)

    @property
    def _keeps_best(self) -> bool:
        return self.recipe.keep == "best" and len(self.data.validation) > 0

    def state(self) -> dict[str, Any]:
        """Return everything that another `Training` with the same arguments needs to resume from here."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "best_epoch": self.best_epoch,
            "best_state": self._best_state,
            "history": [record.model_dump() for record in self.history],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from the `state` of another `Training`."""
        with synchronized_batchnorm(self.model):
            self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.best_epoch, self._best_state = state["best_epoch"], state["best_state"]
        self.history = [EpochRecord(**record) for record in state["history"]]

    def run(
        self,
        progress: Progress | None = None,
        title: str = "train",
        after_epoch: Callable[[Training], None] | None = None,
    ) -> None:
        """Train to the end, and leave the model in eval mode with the weights to keep.

        Args:
            progress: notified of every batch.
            title: of the phase.
            after_epoch: called with this object after every epoch and its validation.

        Raises:
            RunError: the loss became infinite or NaN.
        """
        progress = progress or Silent()
        per_epoch = len(self.data.train)
        total, done = self.recipe.epochs * per_epoch, len(self.history) * per_epoch
        # before the layers are synchronized: DistributedDataParallel refuses them on the CPU, where they work
        parallel = averaging_gradients(self.model, self._callable, self._trial_loss)
        with repeatable_backends(), synchronized_batchnorm(self.model), phase(progress, title, total, done):
            while not self.finished:
                epoch = len(self.history)
                with forked_rng(derive_seed(self.seed, "fit", epoch, rank())):
                    self._run_epoch(parallel, epoch, progress)
                if after_epoch:
                    after_epoch(self)
            if self._keeps_best and self._best_state is not None:
                self.model.load_state_dict(self._best_state)
        self.model.eval()

    def _trial_loss(self) -> Tensor:
        """Return the loss of two samples."""
        inputs, labels = (part.to(self.device) for part in self.data.samples.batch(self.data.train[:2].tolist()))
        return self.task.loss(model_logits(self.model(inputs)), labels).mean()

    def _run_epoch(self, parallel: nn.Module, epoch: int, progress: Progress) -> None:
        started = time.perf_counter()
        loss, accuracy = self._train_epoch(parallel, epoch, progress)
        if not math.isfinite(loss):
            raise RunError(f"training became unstable: the loss of epoch {epoch + 1} is {loss}.")
        validation = self._validate() if len(self.data.validation) else {}
        record = EpochRecord(
            epoch=epoch + 1, learning_rate=self._last_rate, loss=loss, accuracy=accuracy,
            seconds=time.perf_counter() - started, **validation,
        )  # fmt: skip
        self.history.append(record)
        if validation and self._is_best(record):
            self.best_epoch = record.epoch
            # a copy: the state dict holds the live tensors, which the next step changes
            self._best_state = copied_state(self.model) if self._keeps_best else None

    def _is_best(self, record: EpochRecord) -> bool:
        if self.best_epoch is None:
            return True
        return merit(record, self.recipe) > merit(self.history[self.best_epoch - 1], self.recipe)

    def _train_epoch(self, parallel: nn.Module, epoch: int, progress: Progress) -> tuple[float, float]:
        """Train for one epoch and return the mean loss and accuracy over its samples."""
        self.model.train()
        whole = epoch_batches(len(self.data.train), self.recipe.batch_size, epoch, self.seed)
        chunks = [self.data.train[own_part(batch)] for batch in whole]
        losses, right, seen = [], torch.zeros((), dtype=torch.float64, device=self.device), 0
        loaded = to_device(self._read(chunks, epoch), self.device)
        for batch, (indices, inputs, labels) in zip(whole, loaded, strict=True):
            share = len(indices) * world_size() / len(batch)
            loss, quality = self._step(parallel, inputs, labels, self._seeds("adversarial", epoch, indices), share)
            losses.append(loss * len(indices))
            right += quality.double().sum()
            seen += len(indices)
            progress.advance(len(batch), f"loss {loss:.3f}")
        loss, right_ones, count = sum_over_processes([sum(losses), float(right), float(seen)], self.device)
        return loss / count, right_ones / count

    def _read(self, chunks: Sequence[np.ndarray], epoch: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """Yield (indices, augmented inputs, labels) of each chunk."""
        padding, flip = self.recipe.crop_padding, self.recipe.horizontal_flip
        for indices, inputs, labels in read_chunks(self.data.samples, chunks, workers=self.workers):
            seeds = self._seeds("augment", epoch, indices) if padding or flip else ()
            yield indices, *augment(inputs, labels, seeds, crop_padding=padding, horizontal_flip=flip)

    def _seeds(self, use: str, epoch: int, indices: np.ndarray) -> list[int]:
        ids = self.data.samples.ids
        return [derive_seed(self.seed, use, epoch, ids[index]) for index in indices.tolist()]

    def _step(
        self, parallel: nn.Module, inputs: Tensor, labels: Tensor, seeds: Sequence[int], share: float
    ) -> tuple[float, Tensor]:
        """Take a step on this process's `share` of a batch (1 on average); return mean loss and sample qualities."""
        if self.adversary is not None:
            inputs = self._attacked(self.adversary, inputs, labels, seeds)
        output = model_logits(parallel(inputs))
        loss = smoothed_loss(self.task, output, labels, self.recipe.label_smoothing).mean()
        self._optimizer.zero_grad(set_to_none=True)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self._last_rate = float(self._optimizer.param_groups[0]["lr"])
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach()), self.task.quality(output.detach(), labels)

    def _attacked(self, adversary: Adversary, inputs: Tensor, labels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the attack's last iterates on a batch, also for samples that an earlier iterate already broke."""
        with model_untouched(self.model):
            return adversary.attack.run(
                self._callable, inputs, labels, self.task, classes=adversary.classes, seeds=seeds, batch_dependent=True
            ).detach()

    def _validate(self) -> dict[str, float]:
        """Return loss and accuracy on the validation part, in adversarial training also under attack."""
        sums = [0.0, 0.0, 0.0, 0.0, 0.0]
        batches = np.array_split(self.data.validation, -(-len(self.data.validation) // self.recipe.batch_size))
        chunks = [part for part in map(own_part, batches) if len(part)]
        with model_untouched(self.model):
            loaded = read_chunks(self.data.samples, chunks, workers=self.workers)
            for indices, inputs, labels in to_device(loaded, self.device):
                found = self._outcomes(inputs, labels, indices)
                sums = [total + value for total, value in zip(sums, found, strict=True)]
        loss, right, robust_loss, robust, count = sum_over_processes(sums, self.device)
        result = {"validation_loss": loss / count, "validation_accuracy": right / count}
        if self.adversary is not None:
            result |= {"validation_robust_loss": robust_loss / count, "validation_robust_accuracy": robust / count}
        return result

    def _outcomes(self, inputs: Tensor, labels: Tensor, indices: np.ndarray) -> list[float]:
        """Return sums over a batch: clean loss and quality, loss and quality under attack, number of samples."""
        loss, quality = self._judged(inputs, labels)
        clean = [float(loss.double().sum()), float(quality.double().sum())]
        if self.adversary is None:
            return [*clean, 0.0, 0.0, float(len(labels))]
        # The same random starts after every epoch, so that epochs differ only in their weights.
        seeds = self._seeds("validation", 0, indices)
        adversarial = self._attacked(self.adversary, inputs, labels, seeds)
        robust_loss, robust_quality = self._judged(adversarial, labels)
        robust = torch.minimum(quality, robust_quality).double()
        return [*clean, float(robust_loss.double().sum()), float(robust.sum()), float(len(labels))]

    @torch.no_grad()
    def _judged(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        output = model_logits(self._callable(inputs))
        return self.task.loss(output, labels), self.task.quality(output, labels)
