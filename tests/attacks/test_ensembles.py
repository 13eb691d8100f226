"""The cheaper and the stronger ensemble: losses, passes, the random subset of Square and the bound that follows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, hypergeom
from torch import Tensor, nn

from stein_bench.attacks.apgd import APGD
from stein_bench.attacks.attack import attack_seeds, resolve_attack
from stein_bench.attacks.call import Call
from stein_bench.attacks.ensembles import SampledSquare
from stein_bench.attacks.gradient import Unperturbed
from stein_bench.attacks.losses import loss_gradient, probability_margin
from stein_bench.attacks.native import NATIVE_ATTACKS, Searches
from stein_bench.attacks.search import Batch, Search
from stein_bench.attacks.sparse import SparseAPGD
from stein_bench.attacks.square import Square
from stein_bench.attacks.verify import verify
from stein_bench.errors import UsageError
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.measures.unsearched import unsearched_result
from stein_bench.memory import MemoryLimit
from stein_bench.statistics.rates import upper_limit
from tests.attacks.known import TASK, HingeClasses, LinearClasses, problem, right, run, seeds_of

SHAPE = (3, 4, 4)
QUICK = "steps=10,queries=50"


def searches_of(spec: str, classes: int, *, batch_dependent: bool = False) -> Searches:
    """Return the searches of an ensemble for a model with that many classes, which is not run."""
    attack = resolve_attack(spec)
    call = Call(nn.Identity(), TASK, classes, SHAPE, attack.norm, attack.eps, attack.params, batch_dependent)
    found = NATIVE_ATTACKS[attack.name](call)
    assert isinstance(found, Searches)
    return found


def price(search: Search[Any]) -> int:
    """Return the passes, forward and backward, on a sample that survives the search."""
    return search.attempts * sum(sum(search.passes(number)) for number in range(search.steps))


def price_of_a_survivor(spec: str, classes: int) -> float:
    """Return the mean over survivors; 1 pass finds the target classes."""
    return 1 + sum(
        price(search) * (search.drawn if isinstance(search, SampledSquare) else 1)
        for search in searches_of(spec, classes).searches
    )


def test_the_probability_margin_is_the_papers() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(50, 5), torch.arange(50) % 5
    p = logits.double().softmax(dim=1)
    own = p.gather(1, labels[:, None]).squeeze(1)
    others = p.scatter(1, labels[:, None], -1.0).amax(dim=1)
    assert torch.allclose(probability_margin(logits, labels, labels).double(), (1 + others - own).log(), atol=1e-5)
    assert torch.equal(probability_margin(logits, labels, labels) > 0, logits.argmax(dim=1) != labels)


def test_its_gradient_has_the_direction_of_the_margins_and_does_not_vanish() -> None:
    model = LinearClasses(5, 12)
    inputs, labels = problem(model, (12,), 20)
    gradient, *_ = loss_gradient(model, inputs, labels, labels, probability_margin)
    points = inputs.double().requires_grad_(True)
    p = (points @ model.weight.T.double()).softmax(dim=1)
    own = p.gather(1, labels[:, None]).squeeze(1)
    (p.scatter(1, labels[:, None], -1.0).amax(dim=1) - own).sum().backward()
    assert torch.allclose(torch.cosine_similarity(gradient.double(), points.grad), torch.ones(20).double(), atol=1e-6)
    confident = loss_gradient(lambda x: 1e4 * model(x), inputs, labels, labels, probability_margin)[0]
    assert torch.isfinite(confident).all()
    assert (confident.flatten(1).norm(dim=1) > 1).all()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("name", ["pma:steps=20", "mm", f"fast-ensemble:{QUICK}", f"strongest-ensemble:{QUICK}"])
def test_each_breaks_exactly_what_can_be_broken(name: str, classes: int, norm: str) -> None:
    model = LinearClasses(classes, 48)
    inputs, labels = problem(model, SHAPE, 24)
    eps = {"Linf": 0.02, "L2": 0.16}[norm] / classes
    spec = f"{name}{',' if ':' in name else ':'}norm={norm},eps={eps}"
    robust = model.robust(inputs, labels, eps, norm)
    assert 0 < int(robust.sum()) < 24
    assert torch.equal(right(model, run(spec, model, inputs, labels), labels), robust)


@pytest.mark.parametrize("norm", ["Linf", "L1"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 10, 100])
def test_a_survivor_costs_at_most_the_share_of_autoattack_that_is_promised(classes: int, norm: str) -> None:
    autoattack = price_of_a_survivor(f"autoattack:norm={norm}", classes)
    assert price_of_a_survivor(f"fast-ensemble:norm={norm}", classes) <= autoattack / 5
    for steps, queries in ((100, 5000), (50, 5000), (20, 100)):
        given = f"norm={norm},steps={steps},queries={queries}"
        ours, theirs = (
            price_of_a_survivor(f"{name}:{given}", classes) for name in ("strongest-ensemble", "autoattack")
        )
        assert ours <= theirs


@pytest.mark.parametrize(("norm", "kind"), [("Linf", APGD), ("L1", SparseAPGD)])
def test_strongest_holds_the_gradient_attacks_and_square_of_autoattack_in_full(
    norm: str, kind: type[APGD | SparseAPGD]
) -> None:
    standard = searches_of(f"autoattack:norm={norm}", 10).searches
    ours = searches_of(f"strongest-ensemble:norm={norm}", 10).searches
    full = {(s.iterations, s.attempts, s.targeted) for s in ours if isinstance(s, kind)}
    both = {(s.iterations, s.attempts, s.targeted) for s in standard if isinstance(s, kind)}
    assert len(both) == 2
    assert both <= full
    assert [s.queries for s in ours if isinstance(s, Square)] == [5000]


@pytest.mark.parametrize("name", ["fast-ensemble", "strongest-ensemble"])
def test_the_random_numbers_are_those_of_autoattack(name: str) -> None:
    spec = "steps=7,queries=9,norm=L2,eps=0.3"
    own, other = (attack_seeds(5, resolve_attack(f"{one}:{spec}"), ["a", "b"]) for one in (name, "autoattack"))
    assert own == other
    assert own != attack_seeds(5, resolve_attack(f"{name}:{spec.replace('7', '8')}"), ["a", "b"])
    assert own != attack_seeds(5, resolve_attack("apgd-ce:norm=L2,eps=0.3"), ["a", "b"])


@pytest.mark.parametrize("name", ["pma:steps=20", "mm", f"fast-ensemble:{QUICK}", f"strongest-ensemble:{QUICK}"])
def test_in_l1_examples_lie_within_eps_and_what_is_wrong_already_costs_one_look(name: str) -> None:
    model = LinearClasses(5, 48)
    inputs, labels = problem(model, SHAPE, 24)
    spec = f"{name}{',' if ':' in name else ':'}norm=L1,eps=0.1"
    found = verify(model, inputs, run(spec, model, inputs, labels), labels, TASK, norm="L1", eps=0.1, respects_eps=True)
    assert not found.invalid.any()
    assert 0 < int(found.broken.sum()) < 24
    counting = CountingModel(model)
    adv = run(spec, counting, inputs, (labels + 1) % 5)
    assert torch.equal(adv, inputs)
    looks = sum(isinstance(search, Unperturbed) for search in searches_of(spec, 5).searches)
    # 1 pass for `run` to count the classes of one sample; targets take another look
    aimed = bool(searches_of(spec, 5).targets)
    assert (looks, counting.forward_passes, counting.backward_passes) == (1, 1 + 24 * (1 + aimed), 0)


def test_the_passes_are_those_of_the_searches() -> None:
    """On a model that nothing breaks, and with Square on nobody, everybody, and those drawn."""
    model = Unbreakable()
    inputs, labels = torch.full((30, *SHAPE), 0.5), torch.zeros(30, dtype=torch.long)
    for drawn in (0.0, 0.3, 1.0):
        counting = CountingModel(model)
        spec = f"fast-ensemble:{QUICK},drawn={drawn}"
        run(spec, counting, inputs, labels)
        *others, square = searches_of(spec, 4).searches
        members = sum(square.admits(seed) for seed in seeds_of(30))
        assert (members == 0, members == 30) == (drawn == 0, drawn == 1)
        # 1 pass each for `run` to count the classes of one sample, and for everybody's targets
        expected = 1 + 30 * (1 + sum(map(price, others))) + members * price(square)
        assert counting.forward_passes + counting.backward_passes == expected


class Unbreakable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([9.0, 0, 0, 0]) + 0 * x.flatten(1)[:, :4]


@pytest.mark.integration
def test_who_is_drawn_depends_on_the_samples_seed_alone() -> None:
    model = HingeClasses(4, 48).requires_grad_(False)
    inputs, labels = problem(model, SHAPE, 60)
    attack = resolve_attack(f"fast-ensemble:{QUICK},eps=0.004,drawn=0.1")
    seeds = seeds_of(60)

    def drawn(size: int) -> list[bool]:
        found: list[bool] = []
        for i in range(0, 60, size):
            part = slice(i, i + size)
            done = attack.find(model, inputs[part], labels[part], TASK, classes=4, seeds=seeds[part])
            assert done.drawn is not None
            found += done.drawn
        return found

    whole = drawn(60)
    square = searches_of(attack.spec, 4).searches[-1]
    survived = right(model, run(f"fast-ensemble:{QUICK},eps=0.004,drawn=0", model, inputs, labels), labels).tolist()
    assert 0 < sum(survived) < 60
    assert 0 < sum(whole) < sum(survived)
    # `run` above derives the seeds of samples without the attack's parameters
    assert whole == [bool(alive) and square.admits(seed) for alive, seed in zip(survived, seeds, strict=True)]
    assert drawn(7) == whole
    batches = [Batch.untargeted(inputs[i : i + 11], labels[i : i + 11], seeds[i : i + 11]) for i in range(0, 60, 11)]
    refilled = attack.run_refilled(model, batches, TASK, classes=4, shape=SHAPE, memory=MemoryLimit(16))
    assert [flag for found in refilled for flag in found.drawn or []] == whole


def test_on_a_random_model_nothing_is_drawn() -> None:
    attack = resolve_attack("fast-ensemble")
    call = Call(nn.Identity(), TASK, 10, SHAPE, attack.norm, attack.eps, attack.params, False, random=True)
    found = NATIVE_ATTACKS[attack.name](call)
    assert isinstance(found, Searches)
    assert not any(search.sampled for search in found.searches)
    assert [search.queries for search in found.searches if isinstance(search, Square)] == [100]


def test_the_share_drawn_is_the_one_given() -> None:
    square = SampledSquare(TASK, "Linf", 0.1, SHAPE, 10, 0.8, drawn=0.1)
    members = sum(square.admits(seed) for seed in range(4000))
    assert abs(members - 400) < 4 * math.sqrt(4000 * 0.1 * 0.9)


@pytest.mark.parametrize("name", ["fast-ensemble", "strongest-ensemble", "pma", "mm"])
def test_under_batch_statistics_batches_stay_whole_and_nothing_is_drawn(name: str) -> None:
    class BatchMean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = LinearClasses(4, 48)

        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            out: Tensor = self.model(x) - 0.2 * self.model(x).mean(dim=0)
            return out

    sizes: list[int] = []
    model = BatchMean().requires_grad_(False)
    inputs, labels = problem(model, SHAPE, 12)
    sizes.clear()
    attack = resolve_attack(f"{name}:steps=5,eps=0.02{',queries=20' if 'ensemble' in name else ''}")
    found = attack.find(model, inputs, labels, TASK, classes=4, seeds=seeds_of(12), batch_dependent=True)
    assert found.drawn is None
    assert set(sizes) == {12}
    assert int(right(model, found.adv_inputs, labels).sum()) < 12


def test_the_upper_limit_is_clopper_and_pearsons() -> None:
    assert upper_limit(0, 10) == pytest.approx(1 - 0.05 ** (1 / 10))
    assert upper_limit(3, 3) == upper_limit(0, 0) == 1
    for k, n in ((1, 5), (4, 30), (29, 30)):
        assert binom.cdf(k, n, upper_limit(k, n)) == pytest.approx(0.05)


def test_the_bound_by_hand() -> None:
    """100 samples, 5 wrong on the clean input, 35 broken by gradients; 20 of 60 survivors drawn, 1 of them broken."""
    clean, robust, drawn = (np.zeros(100, np.bool_) for _ in range(3))
    clean[5:], robust[40:99], drawn[80:] = True, True, True
    found = unsearched_result(clean, robust, drawn)
    assert (found.survivors, found.searched, found.broken) == (60, 20, 1)
    assert found.at_most_lower == (math.floor(60 * upper_limit(1, 20)) - 1) / 100
    nobody = unsearched_result(clean, robust, np.zeros(100, np.bool_))
    assert (nobody.survivors, nobody.searched, nobody.at_most_lower) == (59, 0, 0.59)
    everybody = unsearched_result(clean, robust, np.ones(100, np.bool_))
    assert everybody.at_most_lower == 0


@pytest.mark.parametrize(("survivors", "searched"), [(10, 3), (40, 4), (40, 25), (200, 20)])
def test_the_bound_holds_in_95_of_100_drawings_however_many_can_be_broken(survivors: int, searched: int) -> None:
    most = []
    for broken in range(searched + 1):
        robust = np.arange(survivors) >= broken
        most.append(unsearched_result(np.ones(survivors, np.bool_), robust, np.arange(survivors) < searched))
    for breakable in range(survivors + 1):
        k = np.arange(searched + 1)
        chance = hypergeom.pmf(k, survivors, breakable, searched)
        held = [breakable - i <= round(most[i].at_most_lower * survivors) for i in k]
        assert chance[held].sum() >= 0.95 - 1e-9


@pytest.mark.parametrize("drawn", [-0.1, 1.5])
def test_the_share_drawn_is_checked(drawn: float) -> None:
    with pytest.raises(UsageError, match="drawn of attack fast-ensemble must be between 0 and 1"):
        resolve_attack(f"fast-ensemble:drawn={drawn}")
