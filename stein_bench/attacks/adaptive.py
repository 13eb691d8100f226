"""The adaptive attack: gradients from wherever the model has any, and scores and decisions as the last resort.

Source: Tramèr, Carlini, Brendel and Madry, "On adaptive attacks to adversarial example defenses" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stein_bench.attacks.apgd import APGD
from stein_bench.attacks.call import Call
from stein_bench.attacks.gradient import Unperturbed
from stein_bench.attacks.losses import MOST_TARGETS, Loss, dlr, targeted_dlr, targeted_margin, task_loss
from stein_bench.attacks.search import Search
from stein_bench.attacks.square import Square
from stein_bench.attacks.through import OWN, GradientSource, Strategy, through

ADAPTIVE = "adaptive"
"""The attack's name in the catalog."""
SHORT_QUERIES = 1000
"""Queries of Square where the model's own gradients are the best."""
FIRST_SHARE = 0.8
"""Square's p in AutoAttack (Croce and Hein 2020, section 6)."""


@dataclass(frozen=True)
class Stage:
    """One of the searches, for the report: what it does, on which source."""

    search: str
    source: str


def stages(call: Call) -> list[tuple[Stage, Search[Any]]]:
    """Return the searches in turn, each on the samples that survived so far."""
    strategy = call.strategy or Strategy((OWN,))
    best, *others = strategy.sources
    found: list[tuple[Stage, Search[Any]]] = [(Stage("clean", ""), Unperturbed(call.task))]

    def add(name: str, source: GradientSource, search: Search[Any]) -> None:
        found.append((Stage(name, source.name), through(search, source, call.model, call.task)))

    steps = call.whole("steps")
    loss, aimed = _losses(call)
    add("apgd-ce", best, apgd(call, task_loss(call.task), steps))
    add("apgd-dlr", best, apgd(call, loss, steps))
    for source in others:
        add("apgd-dlr", source, apgd(call, loss, steps))
    add("apgd-t", best, apgd(call, aimed, max(steps // 2, 1), targets=call.target_count(MOST_TARGETS)))
    queries = call.whole("queries") if strategy.hidden else min(SHORT_QUERIES, call.whole("queries"))
    # Logits that are read before a softmax, say, tell more than the outputs.
    scores = OWN if best.exact else best
    add("square", scores, Square(call.task, call.norm, call.eps, tuple(call.shape), queries, FIRST_SHARE))
    return found


def apgd(call: Call, loss: Loss, steps: int, *, targets: int = 0) -> APGD:
    """Return auto-PGD on that loss from one random start, or towards each of that many target classes in turn."""
    return APGD(
        call.task, loss, call.norm, call.eps, steps, call.starts(),
        targeted=bool(targets), attempts=max(targets, 1), batch_dependent=call.batch_dependent,
    )  # fmt: skip


def _losses(call: Call) -> tuple[Loss, Loss]:
    """Return an untargeted and a targeted loss that do not depend on the scale of the logits."""
    return dlr if call.classes >= 3 else untargeted_margin, targeted_dlr if call.classes >= 4 else targeted_margin


def untargeted_margin(logits: Tensor, labels: Tensor, _targets: Tensor) -> Tensor:
    """Return the largest other logit minus the label's, for any number of classes."""
    own = logits.float().gather(1, labels[:, None]).squeeze(1)
    return logits.float().scatter(1, labels[:, None], -torch.inf).amax(dim=1) - own
