"""Training by the recipe `fit`, for networks without weights that fit the data."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from stein_bench.data.samples import Samples
from stein_bench.progress import Progress
from stein_bench.tasks import Task
from stein_bench.training.loop import Training, TrainingSet
from stein_bench.training.recipes import DEFAULT, Recipe, find_recipe


def fit_recipe() -> Recipe:
    """Return the recipe `fit`: a short standard training without augmentation or validation."""
    return find_recipe(DEFAULT)


def fit(
    model: nn.Module,
    samples: Samples,
    task: Task,
    *,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
    title: str = "fit",
) -> float:
    """Train `model` in place on `samples` and return the mean loss of the last epoch (nats per sample).

    The result depends only on the model's initial state, the samples, the recipe and the seed; the state of the global
    RNG is restored. The model is left on `device`, in eval mode.

    Raises:
        RunError: the loss became infinite or NaN.
    """
    everything = np.arange(len(samples))
    training = Training(model, TrainingSet(samples, everything, everything[:0]), task, recipe, seed=seed, device=device)
    training.run(progress, title)
    return training.history[-1].loss


def failure(error: Exception) -> str:
    """Return why training failed, in one line of bounded length."""
    if "does not require grad" in str(error):
        return "no parameter gets a gradient: the model's code detaches its outputs, or all parameters are frozen"
    return " ".join(str(error).split())[:300]
