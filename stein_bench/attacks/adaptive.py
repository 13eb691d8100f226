"""The adaptive attack: gradients from wherever the model has any, and scores and decisions as the last resort.

Source: Tramèr, Carlini, Brendel and Madry, "On adaptive attacks to adversarial example defenses" (2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stein_bench.attacks.autopgd import auto_pgd, targeted_auto_pgd
from stein_bench.attacks.call import Call
from stein_bench.attacks.ensembles import FIRST_SHARE, ratio_towards
from stein_bench.attacks.estimated import Estimated
from stein_bench.attacks.gradient import Unperturbed
from stein_bench.attacks.hopskipjump import HopSkipJump
from stein_bench.attacks.losses import (
    MOST_TARGETS,
    margin,
    probability_margin,
    targeted_margin,
    task_loss,
)
from stein_bench.attacks.parameters import ALPHA_FACTOR
from stein_bench.attacks.queries import updates_within
from stein_bench.attacks.rays import RayS
from stein_bench.attacks.search import Search
from stein_bench.attacks.square import Square
from stein_bench.attacks.starts import CleanStart
from stein_bench.attacks.through import OWN, GradientSource, Strategy, through

ADAPTIVE = "adaptive"
"""The attack's name in the catalog."""
SHORT_QUERIES = 1000
"""Queries of Square where the model's own gradients are the best."""
DRAWS = 10
"""Draws of a random model over which a gradient is averaged."""
PER_ESTIMATE = 50
"""Queries from which a gradient is estimated (Ilyas et al. 2018)."""


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

    steps, eot = call.whole("steps"), DRAWS if call.random else 1
    half, quarter = max(steps // 2, 1), max(steps // 4, 1)
    add("pma", best, auto_pgd(call, probability_margin, steps, start=CleanStart(), eot=eot))
    add("apgd-ce", best, auto_pgd(call, task_loss(call.task), half, eot=eot))
    for source in others:
        add("pma", source, auto_pgd(call, probability_margin, steps, start=CleanStart(), eot=eot))
    if not call.random:  # there every attempt is made on every sample, with all its draws
        add("mm", best, targeted_auto_pgd(call, targeted_margin, quarter, MOST_TARGETS))
        add("apgd-t", best, targeted_auto_pgd(call, ratio_towards(call), half, MOST_TARGETS))
    queries = call.whole("queries") if strategy.hidden else min(SHORT_QUERIES, call.whole("queries"))
    asked = max(queries // eot, 1)  # of a random model scores are averaged too
    square = Square(call.task, call.norm, call.eps, tuple(call.shape), asked, FIRST_SHARE, eot=eot, random=call.random)
    add("square", strategy.scores, square)
    updates = updates_within(queries, PER_ESTIMATE)
    if strategy.useless and not strategy.flat and call.norm != "L1" and updates > 0:
        add("nes", strategy.scores, _estimated(call, queries, updates))
    if strategy.flat and call.norm != "L1":  # of which no decision-based attack is known here
        add("rays" if call.norm == "Linf" else "hopskipjump", OWN, _decisions(call, queries))
    return found


def _estimated(call: Call, queries: int, updates: int) -> Search[Any]:
    """Return NES with queries far apart: beyond the steps and ripples by which a model hides its gradients."""
    spread = spread_within(call.norm, call.eps, call.shape)
    alpha = ALPHA_FACTOR * call.eps / updates
    return Estimated("nes", call.task, call.norm, call.eps, queries, PER_ESTIMATE, spread, alpha)


def spread_within(norm: str, eps: float, shape: Sequence[int]) -> float:
    """Return a standard deviation per pixel of noise that is as large as the budget, in Linf half of it."""
    return 0.5 * eps if norm == "Linf" else eps / math.sqrt(math.prod(shape))


def _decisions(call: Call, queries: int) -> Search[Any]:
    """Return a search by decisions alone."""
    if call.norm == "Linf":
        return RayS(call.task, call.eps, queries)
    return HopSkipJump(call.task, call.norm, call.eps, queries)


def untargeted_margin(logits: Tensor, labels: Tensor, _targets: Tensor) -> Tensor:
    """Return the largest other logit minus the label's, for any number of classes."""
    return -margin(logits, labels)
