"""Which adaptive attacks a battery gets, and searches with the gradients of another model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks.adaptive_choice import with_adaptive_attacks
from stein_bench.attacks.attack import resolve_attacks
from stein_bench.attacks.autopgd import auto_pgd
from stein_bench.attacks.call import Call
from stein_bench.attacks.estimated import Estimated
from stein_bench.attacks.losses import probability_margin
from stein_bench.attacks.refill import refill
from stein_bench.attacks.search import Batch, Search
from stein_bench.attacks.through import OWN, GradientSource, Strategy, through
from stein_bench.attacks.verify import verify
from stein_bench.errors import UsageError
from stein_bench.evaluation.outcomes import Counted, CountingModel
from stein_bench.memory import MemoryLimit
from tests.attacks.known import TASK, LinearClasses, problem, right

ADAPTIVE = "adaptive:eps=0.015,steps=10,queries=2"


def labels_of(*specs: str) -> list[str]:
    return [f"{a.name} {a.norm} {a.eps:g}" for a in with_adaptive_attacks(resolve_attacks(specs))]


def test_every_budget_gets_one_adaptive_attack() -> None:
    found = labels_of("pgd:eps=0.1", "fgsm:eps=0.1", "pgd:norm=L2,eps=1", "apgd-ce:norm=L1,eps=4", "noise-gaussian")
    assert found[5:] == ["adaptive Linf 0.1", "adaptive L2 1", "adaptive L1 4"]
    given = labels_of("adaptive:eps=0.1,steps=7", "pgd:eps=0.1", "pgd:eps=0.2")
    assert given[3:] == ["adaptive Linf 0.2"]


def test_noise_alone_has_no_budget() -> None:
    with pytest.raises(UsageError, match="--adaptive needs an attack in Linf, L2 or L1"):
        with_adaptive_attacks(resolve_attacks(["noise-gaussian"]))


class Rounded(nn.Module):
    """A linear network behind rounding, which has no gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(torch.round(200 * x) / 200)
        return found


@pytest.mark.parametrize("exact", [True, False])
def test_gradients_of_another_model_break_what_the_evaluated_model_then_gets_wrong(exact: bool) -> None:
    linear = LinearClasses(6, 48)
    inputs, labels = problem(linear, (3, 4, 4), 60)
    model = Rounded(linear).eval()
    strategy = Strategy((GradientSource("open", lambda _: linear, exact=exact),), hidden=True)
    (attack,) = resolve_attacks([ADAPTIVE])
    blind = attack.find(model, inputs, labels, TASK, classes=6, seeds=list(range(60)))
    found = attack.find(model, inputs, labels, TASK, classes=6, seeds=list(range(60)), strategy=strategy)
    standing = [int(right(model, one.adv_inputs, labels).sum()) for one in (blind, found)]
    assert standing[1] < standing[0] - 10
    assert found.ended is not None
    if not exact:  # the evaluated model decides where a search ends
        broken = ~right(model, found.adv_inputs, labels)
        assert bool(broken[[row for row, end in enumerate(found.ended) if end == 1]].all())


@pytest.mark.parametrize(("norm", "eps"), [("L1", 0.1), ("Linf", 0.004), ("L2", 0.03)])
def test_samples_leave_with_points_within_eps_whatever_the_source(norm: str, eps: float) -> None:
    """Points of auto-PGD's first balls in L1, and those that NES asks around an iterate, lie beyond it."""
    linear = LinearClasses(6, 48)
    inputs, labels = problem(linear, (3, 4, 4), 40)
    model = Rounded(linear).eval()
    source = GradientSource("open", lambda _: linear, exact=False)
    call = Call(model, TASK, 6, (3, 4, 4), norm, eps, {}, False)
    search: Search[Any] = auto_pgd(call, probability_margin, 10)
    if norm != "L1":
        search = Estimated("nes", TASK, norm, eps, 160, 50, 4 * eps, eps)
    batch = Batch.untargeted(inputs, labels, range(40))
    (found,) = refill(model, [through(search, source, model, TASK)], [batch], MemoryLimit(40))
    verdict = verify(model, inputs, found.adv_inputs, labels, TASK, norm=norm, eps=eps, respects_eps=True)
    assert not verdict.over_budget.any()
    assert 0 < int(verdict.broken.sum()) < 40


def test_passes_are_those_of_the_source_and_refilled_batches_count_the_same() -> None:
    linear = LinearClasses(6, 48)
    inputs, labels = problem(linear, (3, 4, 4), 30)
    counting = CountingModel(Rounded(linear).eval())
    source = GradientSource("open", lambda model: Counted(linear, model), exact=False)
    (attack,) = resolve_attacks([ADAPTIVE])
    strategy, seeds = Strategy((source,)), list(range(30))
    whole = attack.find(counting, inputs, labels, TASK, classes=6, seeds=seeds, strategy=strategy)
    batches = [Batch.untargeted(inputs[i : i + 7], labels[i : i + 7], seeds[i : i + 7]) for i in range(0, 30, 7)]
    parts = list(
        attack.run_refilled(
            Rounded(linear).eval(), batches, TASK, classes=6, shape=(3, 4, 4), memory=MemoryLimit(9), strategy=strategy
        )
    )
    assert torch.equal(torch.cat([part.adv_inputs for part in parts]), whole.adv_inputs)
    assert sum(part.forward_passes for part in parts) == counting.forward_passes
    assert sum(part.backward_passes for part in parts) == counting.backward_passes


def test_without_a_strategy_the_gradients_are_the_models_own() -> None:
    linear = LinearClasses(6, 48)
    inputs, labels = problem(linear, (3, 4, 4), 20)
    (attack,) = resolve_attacks([ADAPTIVE])
    seeds = list(range(20))
    own = attack.find(linear, inputs, labels, TASK, classes=6, seeds=seeds)
    told = attack.find(linear, inputs, labels, TASK, classes=6, seeds=seeds, strategy=Strategy((OWN,)))
    assert torch.equal(own.adv_inputs, told.adv_inputs)
