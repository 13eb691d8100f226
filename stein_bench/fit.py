"""The built-in recipe that trains a network where no weights fit the data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stein_bench.data.samples import Samples
from stein_bench.errors import RunError
from stein_bench.guard import forked_rng, repeatable_backends
from stein_bench.models.outputs import logits as model_logits
from stein_bench.progress import Progress, Silent, phase
from stein_bench.seeds import derive_seed
from stein_bench.tasks import Task


@dataclass(frozen=True)
class FitRecipe:
    """A short standard training: AdamW with a one-cycle learning rate on the cross-entropy, no augmentation.

    Sources: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019); Smith and Topin,
    "Super-convergence" (2019).

    Attributes:
        epochs: passes over the training split.
        batch_size: samples per step, about: each epoch is split evenly.
        learning_rate: its peak.
        weight_decay: of every parameter.
    """

    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def document(self) -> dict[str, int | float | str]:
        """Return the recipe as plain values, for the cache's key and the weights' card."""
        return {"optimizer": "adamw", "schedule": "one-cycle", **asdict(self)}


def fit(
    model: nn.Module,
    samples: Samples,
    task: Task,
    *,
    recipe: FitRecipe,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
    title: str = "fit",
) -> float:
    """Train `model` in place on `samples` and return the mean loss of the last epoch (nats per sample).

    The result is a function of the model's initial state, the samples, the recipe and the seed; the global RNG
    is left as it was. The model is left on `device`, in eval mode.

    Raises:
        RunError: the loss became infinite or NaN.
    """
    progress = progress or Silent()
    model.to(device).train()
    steps = recipe.epochs * len(_epoch_batches(len(samples), recipe, 0, seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
    total = recipe.epochs * len(samples)
    loss = math.nan
    with forked_rng(derive_seed(seed, "fit")), repeatable_backends(), phase(progress, title, total):
        for epoch in range(recipe.epochs):
            losses = []
            for indices in _epoch_batches(len(samples), recipe, epoch, seed):
                inputs, labels = samples.batch(indices.tolist())
                loss = _step(model, inputs.to(device), labels.to(device), task, optimizer)
                schedule.step()
                losses.append(loss * len(indices))
                progress.advance(len(indices), f"loss {loss:.3f}")
            loss = sum(losses) / len(samples)
            if not math.isfinite(loss):
                raise RunError(f"training became unstable: the loss of epoch {epoch + 1} is {loss}.")
    model.eval()
    return loss


def _epoch_batches(samples: int, recipe: FitRecipe, epoch: int, seed: int) -> list[np.ndarray]:
    """Split a seeded permutation evenly: no tiny last batch, whose statistics BN could not use."""
    order = np.random.default_rng(derive_seed(seed, "epoch", epoch)).permutation(samples)
    return list(np.array_split(order, max(1, -(-samples // recipe.batch_size))))


def _step(model: nn.Module, inputs: Tensor, labels: Tensor, task: Task, optimizer: torch.optim.Optimizer) -> float:
    loss = task.loss(model_logits(model(inputs)), labels).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())
