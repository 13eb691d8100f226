"""From a recipe to an optimizer and to the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from stein_bench.training.recipes import Recipe

RISE = 0.3
"""Share of a one-cycle schedule in which the learning rate rises, where the recipe names no warm-up."""


def make_optimizer(parameters: Iterable[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer: SGD with (Nesterov) momentum, or AdamW (Loshchilov and Hutter 2019)."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> LRScheduler:
    """Return what sets the learning rate of every step; it is to be told after each of them."""
    if recipe.schedule == "one-cycle":
        rise = recipe.warmup_epochs / recipe.epochs or RISE
        steps = recipe.epochs * steps_per_epoch
        return OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=steps, pct_start=rise, cycle_momentum=recipe.cycle_momentum
        )
    return LambdaLR(optimizer, partial(rate_factor, recipe, steps_per_epoch))


def rate_factor(recipe: Recipe, steps_per_epoch: int, step: int) -> float:
    """Return the learning rate of a `step` (from 0) of a schedule but one-cycle, in units of its peak.

    It rises linearly through the warm-up's w steps, to 1 at its end. After that it stays (``constant``), is
    ``(1 + cos(π·(step - w)/(total - w)))/2`` (``cosine``; Loshchilov and Hutter, "SGDR", 2017), or has been multiplied
    by `step_factor` for each of `step_epochs` that is over (``step``).
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if recipe.schedule == "cosine":
        total = recipe.epochs * steps_per_epoch
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))
    over = sum(step >= epoch * steps_per_epoch for epoch in recipe.step_epochs)
    return float(recipe.step_factor**over)
