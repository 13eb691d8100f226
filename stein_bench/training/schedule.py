"""The optimizer and the learning-rate schedule of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from stein_bench.training.recipes import Recipe

RISE = 0.3
"""Share of a one-cycle schedule in which the learning rate rises, if the recipe sets no warm-up."""


def make_optimizer(parameters: Iterable[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer: SGD with (Nesterov) momentum, or AdamW (Loshchilov and Hutter 2019)."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> LRScheduler:
    """Return the learning-rate schedule, to be advanced after every optimizer step."""
    if recipe.schedule == "one-cycle":
        rise = recipe.warmup_epochs / recipe.epochs or RISE
        steps = recipe.epochs * steps_per_epoch
        return OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=steps, pct_start=rise, cycle_momentum=recipe.cycle_momentum
        )
    return LambdaLR(optimizer, partial(rate_factor, recipe, steps_per_epoch))


def rate_factor(recipe: Recipe, steps_per_epoch: int, step: int) -> float:
    """Return the learning rate at a `step` (from 0) relative to its peak, for all schedules but one-cycle.

    It rises linearly to 1 over the w steps of the warm-up. After that it is constant (``constant``), follows
    ``(1 + cos(π·(step - w)/(total - w)))/2`` (``cosine``; Loshchilov and Hutter, "SGDR", 2017), or is multiplied by
    `step_factor` after each of `step_epochs` (``step``).
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if recipe.schedule == "cosine":
        total = recipe.epochs * steps_per_epoch
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))
    over = sum(step >= epoch * steps_per_epoch for epoch in recipe.step_epochs)
    return float(recipe.step_factor**over)
