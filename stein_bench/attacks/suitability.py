"""Checks whether attacks apply to the task, the number of classes, and images or volumes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from stein_bench.attacks.attack import Attack
from stein_bench.attacks.catalog import NATIVE
from stein_bench.errors import UsageError


def check_tasks(attacks: Sequence[Attack], task: str) -> None:
    """Raise a `UsageError` if an attack does not support the task."""
    for attack in attacks:
        if task not in attack.info.supported_tasks:
            able = [info.name for info in NATIVE if task in info.supported_tasks]
            tasks = ", ".join(attack.info.supported_tasks)
            raise UsageError(
                f"attack {attack.info.name} supports {tasks}, but the data is for {task}. "
                f"For {task}: {', '.join(able)}."
            )


def check_attacks(attacks: Sequence[Attack], model: nn.Module, classes: int, rank: int) -> None:
    """Raise a `UsageError` if an attack cannot run on `model`.

    Args:
        attacks: attacks that support the task.
        model: the network, untrained.
        classes: number of its classes.
        rank: number of axes of one input, (C, *spatial).
    """
    for attack in attacks:
        if classes < attack.info.min_classes:
            raise UsageError(
                f"attack {attack.info.name} needs at least {attack.info.min_classes} classes; the model has {classes}."
            )
        if attack.info.backend == "torchattacks" and rank != 3:
            raise UsageError(f"attack {attack.info.name} takes images only, not volumes; use a native attack.")
        attack.try_construction(model, classes)
