"""Models whose predictions are random: their battery, and what is said about them before the attacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from stein_bench.attacks.batteries import find_battery
from stein_bench.models.randomness import is_random
from stein_bench.preparation.plan import Plan, planned_attacks, trial_outputs
from stein_bench.report.attack_names import AUTOATTACKS, NOT_FOR_RANDOM
from stein_bench.report.number_format import in_draws

STANDARD, RANDOM = "standard", "random"
CLASSES_OF_DLR = 3
"""The difference-of-logits ratio uses the third largest logit."""


def with_battery_for_random(plan: Plan, network: nn.Module) -> Plan:
    """Return `plan` with the battery for random models where ``standard`` was asked for and `network` is random.

    With fewer than three classes that battery is without `apgd-dlr`. A note says what was changed.

    Args:
        plan: a plan with its task.
        network: its untrained network.

    Raises:
        UsageError: an attack of the battery was given with ``--attack`` as well.
    """
    config = plan.config
    if config.battery not in (STANDARD, RANDOM) or plan.task.name == "segmentation":
        return plan
    if config.battery == STANDARD and not _is_evaluated_in_draws(plan, network):
        return plan
    specs, notes = find_battery(RANDOM).attacks, list[str]()
    if config.battery == STANDARD:
        notes.append(
            "--battery standard: the model is random in evaluation, so the battery random is used instead, whose "
            "gradients and scores are averages over draws"
        )
    if _classes(plan, network) < CLASSES_OF_DLR:
        specs = tuple(spec for spec in specs if not spec.startswith("apgd-dlr"))
        notes.append("battery random: without apgd-dlr, which needs at least 3 classes")
    return replace(plan, attacks=planned_attacks(config, specs), notes=(*plan.notes, *notes))


def _is_evaluated_in_draws(plan: Plan, network: nn.Module) -> bool:
    running = any(variant.stats == "running" for variant in plan.variants)
    return running and is_random(plan.wrap(network), plan.samples.shape, plan.device)


def _classes(plan: Plan, network: nn.Module) -> int:
    if plan.task.name == "binary":
        return 2
    return trial_outputs(plan.wrap(network), plan, plan.device).flatten(1).shape[1]


def draws_note(plan: Plan, variant: str, draws: int, *, random: bool) -> Iterator[str]:
    """Yield what is to be said before a variant is attacked, which is `random` or not."""
    if random:
        yield (
            f"{variant}: the model is random: its figures are expected accuracies, means over "
            f"{in_draws(draws)} of every prediction"
        )
        if any(attack.name in AUTOATTACKS for attack in plan.attacks):
            yield f"{variant}: {NOT_FOR_RANDOM}"
    elif plan.config.draws is not None:
        yield f"{variant}: not random, or evaluated in single draws: --draws has no effect"
    if not random and any(int(attack.params.get("eot", 1)) > 1 for attack in plan.attacks):
        yield f"{variant}: not random: eot=K makes attacks take K times as long and no stronger"
