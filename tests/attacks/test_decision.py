"""Attacks that see decisions only, RayS and HopSkipJump: closed forms, no need of scores, queries, independence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks import hopskipjump, streams
from stein_bench.attacks.attack import resolve_attack
from stein_bench.attacks.geometry import length
from stein_bench.attacks.hopskipjump import HopSkipJump, start
from stein_bench.attacks.rays import RayS, flipped
from stein_bench.attacks.search import Batch, Search
from stein_bench.attacks.verify import verify
from stein_bench.evaluation.outcomes import CountingModel
from stein_bench.memory import MemoryLimit
from stein_bench.tasks import TASKS, Classification
from tests.attacks.known import HingeClasses, LinearClasses, problem, right, run, searched, seeds_of

TASK = Classification()
DECISIONS = [("rays", "Linf"), ("hopskipjump", "Linf"), ("hopskipjump", "L2")]
ESTIMATES = [(name, norm) for name in ("nes", "spsa") for norm in ("Linf", "L2")]
SHAPE = (2, 3, 4)


def attack_of(name: str, norm: str, eps: float, queries: int) -> Search:
    return RayS(TASK, eps, queries) if name == "rays" else HopSkipJump(TASK, norm, eps, queries)


class OneByOne(nn.Module):
    """Shows a model each sample alone, so that no output depends on the size of the batch, not even in its last bits.

    With `hard`, it returns decisions only, as one-hot scores.
    """

    def __init__(self, model: nn.Module, *, hard: bool = False) -> None:
        super().__init__()
        self.model, self.hard = model, hard

    def forward(self, inputs: Tensor) -> Tensor:
        logits = torch.cat([self.model(x[None]) for x in inputs])
        return nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).float() if self.hard else logits


def two_classes(count: int) -> tuple[LinearClasses, Tensor, Tensor]:
    model = LinearClasses(2, 24).requires_grad_(False)
    return model, *problem(model, SHAPE, count)


def distances(model: LinearClasses, inputs: Tensor, norm: str) -> Tensor:
    """The exact distance to the boundary of two linear classes: the gap over the dual norm of the slope."""
    logits, slope = model(inputs), model.weight[0] - model.weight[1]
    return (logits[:, 0] - logits[:, 1]).abs() / slope.norm(p=1 if norm == "Linf" else 2)


@pytest.mark.parametrize(
    ("name", "norm", "within"),
    [
        ("rays", "Linf", 1.01),
        pytest.param("hopskipjump", "Linf", 1.1, marks=pytest.mark.slow),
        pytest.param("hopskipjump", "L2", 1.03, marks=pytest.mark.slow),
    ],
)
def test_the_distance_converges_to_the_exact_one_on_two_linear_classes(name: str, norm: str, within: float) -> None:
    """Without early stop, as for batches whose samples depend on each other, the search goes on to the boundary."""
    model, inputs, labels = two_classes(20)
    exact, eps, queries = distances(model, inputs, norm), 1e-3, 1000 if name == "rays" else 1500
    search = attack_of(name, norm, eps, queries)
    rows = search.begin(Batch.untargeted(inputs, labels, seeds_of(20)), [0] * 20)
    for number in range(queries):
        rows = search.advance(model, rows, [number] * 20).rows
    found = rows.radius if name == "rays" else length(rows.nearest - inputs, norm)
    assert (found > 0.999 * exact).all()
    assert (found < within * exact + 0.1 * eps).all()


@pytest.mark.parametrize(("name", "norm"), DECISIONS)
def test_what_can_be_broken_within_eps_is_and_every_point_holds_its_budget(name: str, norm: str) -> None:
    model, inputs, labels = two_classes(30)
    exact = distances(model, inputs, norm)
    eps = float(exact.median())
    adv = run(f"{name}:queries=500,eps={eps!r},norm={norm}", model, inputs, labels)
    verdicts = verify(model, inputs, adv, labels, TASK, norm=norm, eps=eps, respects_eps=True)
    broken = torch.from_numpy(verdicts.broken)
    assert not verdicts.invalid.any()
    assert broken[exact < 0.9 * eps].all()
    assert not broken[exact > eps * 1.0001].any()


@pytest.mark.parametrize(("name", "norm"), DECISIONS)
def test_decisions_are_enough(name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that returns one-hot scores is attacked as the one behind it."""
    monkeypatch.setattr(hopskipjump, "FIRST_BATCH", 12)
    model = HingeClasses(4, 24).requires_grad_(False)
    inputs, labels = problem(model, SHAPE, 8)
    search = attack_of(name, norm, 0.03 if norm == "Linf" else 0.1, 150)
    soft, hard = (searched(search, OneByOne(model, hard=hard), inputs, labels) for hard in (False, True))
    assert torch.equal(soft, hard)
    assert (~right(model, soft, labels)).sum() >= 3


@pytest.mark.parametrize("spec", ["square:queries=30", "nes:sigma=1e-4", "spsa:delta=1e-4"])
def test_attacks_on_scores_get_nowhere_without_them(spec: str) -> None:
    model = HingeClasses(4, 24).requires_grad_(False)
    inputs, labels = problem(model, SHAPE, 12)
    estimating = "" if spec.startswith("square") else ",queries=110,samples=20"
    soft, hard = (run(f"{spec}{estimating},eps=0.015", m, inputs, labels) for m in (model, OneByOne(model, hard=True)))
    standing, blind = int(right(model, soft, labels).sum()), int(right(model, hard, labels).sum())
    assert blind >= standing + 2
    assert spec.startswith("square") or blind == 12  # its windows are wrong by chance


@pytest.mark.parametrize(("name", "norm"), [*DECISIONS, ("nes", "L2"), ("spsa", "Linf")])
def test_results_do_not_depend_on_the_batch_or_on_refilling(
    name: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hopskipjump, "FIRST_BATCH", 8)  # so that all parts of the walk are reached
    model = OneByOne(HingeClasses(4, 24).requires_grad_(False))
    inputs, labels = problem(model, SHAPE, 7)
    labels[3] = (labels[3] + 1) % 4  # misclassified without an attack
    more = ",samples=6" if name in ("nes", "spsa") else ""
    attack = resolve_attack(f"{name}:queries=64,eps={0.02 if norm == 'Linf' else 0.05},norm={norm}{more}")
    whole = run(attack, model, inputs, labels)
    assert 1 < (~right(model, whole, labels)).sum() < 7
    for size in (1, 3):
        assert torch.equal(run(attack, model, inputs, labels, batch_size=size), whole)
    order, seeds = [5, 2, 6, 0, 3, 1, 4], seeds_of(7)
    parts = [order[i : i + 2] for i in range(0, 7, 2)]
    batches = (Batch.untargeted(inputs[part], labels[part], [seeds[i] for i in part]) for part in parts)
    found = list(attack.run_refilled(model, batches, TASK, classes=4, shape=SHAPE, memory=MemoryLimit(3)))
    assert torch.equal(torch.cat([result.adv_inputs for result in found]), whole[order])


@pytest.mark.parametrize("queries", [1, 40])
@pytest.mark.parametrize(("name", "norm"), DECISIONS)
def test_no_more_queries_than_promised_and_fewer_for_what_is_broken(name: str, norm: str, queries: int) -> None:
    model, inputs, labels = two_classes(9)
    labels[0] = 1 - labels[0]
    counting = CountingModel(model)
    run(f"{name}:queries={queries},eps=1e-4,norm={norm}", counting, inputs, labels)
    asked_for_the_number_of_classes = 1
    assert counting.forward_passes - asked_for_the_number_of_classes == 8 * queries + 1
    assert counting.backward_passes == 0


@pytest.mark.parametrize("shape", [(9,), pytest.param((1, 2, 3, 4), marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "norm"), [*DECISIONS[:-1], *ESTIMATES])
def test_volumes_and_vectors_with_one_logit(name: str, norm: str, shape: tuple[int, ...]) -> None:
    """Binary tasks, on inputs of other ranks than images have, against the closed form."""
    task, count, eps = TASKS["binary"], torch.Size(shape).numel(), 0.03
    weight = torch.randn(count, generator=torch.Generator().manual_seed(3))
    model = nn.Sequential(nn.Flatten(), nn.Linear(count, 1)).requires_grad_(False)
    model[1].weight.copy_(weight)
    model[1].bias.fill_(-0.5 * weight.sum())  # the boundary contains mid-grey
    gaps = torch.linspace(-1.9, 1.9, 10)  # in units of what eps can overcome; none is 1
    labels, reach = (gaps > 0).long(), eps * weight.norm(p=1 if norm == "Linf" else 2) / weight.square().sum()
    inputs = (0.5 + gaps[:, None] * reach * weight).view(10, *shape)
    assert (inputs - 0.5).abs().max() < 0.4
    attack = resolve_attack(f"{name}:queries=450,eps={eps},norm={norm}")
    adv = attack.run(model, inputs, labels, task, classes=2, seeds=seeds_of(10))
    verdicts = verify(model, inputs, adv, labels, task, norm=norm, eps=eps, respects_eps=True)
    assert not verdicts.invalid.any()
    assert torch.from_numpy(verdicts.broken).tolist() == (gaps.abs() < 1).tolist()


def rays_one_by_one(wrong: Callable[[Tensor], bool], center: Tensor, eps: float, queries: int) -> list[Tensor]:
    """Return the points that RayS asks about for one sample, by plain loops after the paper's algorithms."""
    asked: list[Tensor] = []

    def ask(signs: Tensor, radius: float) -> bool:
        asked.append((center + radius * signs).clamp(0, 1))
        return wrong(asked[-1])

    count, best, radius = center.numel(), torch.ones_like(center), 1.0
    ask(best, 0.0)
    blocks = [(0, 0), *((level, block) for level in range(8) for block in range(2**level))]
    for number, (level, block) in enumerate(blocks):
        if len(asked) >= queries:
            break
        size, trial = -(-count // 2**level), best.clone()
        if number:
            trial[block * size : (block + 1) * size] *= -1
            if block * size >= count:
                continue
        if not ask(trial, radius):
            continue
        low, high = 0.0, radius
        while high - low > min(1e-3, 0.1 * eps):
            middle = eps if low < eps < high else (low + high) / 2
            low, high = (low, middle) if ask(trial, middle) else (middle, high)
        best, radius = trial, high
    return asked[:queries]


def test_rays_asks_what_the_papers_algorithm_asks() -> None:
    model = HingeClasses(3, 24).requires_grad_(False)
    inputs, labels = problem(model, (24,), 4)
    for center, label in zip(inputs, labels, strict=True):
        expected = rays_one_by_one(lambda x, y=label: bool(model(x[None]).argmax() != y), center, 1e-3, 260)
        search = RayS(TASK, 1e-3, 260)
        rows, asked = search.begin(Batch.untargeted(center[None], label[None], [0]), [0]), list[Tensor]()
        for number in range(260):
            step = search.advance(model, rows, [number])
            rows = step.rows
            asked.append(step.points[0])
        assert len(expected) == 260
        assert torch.allclose(torch.stack(asked), torch.stack(expected), atol=1e-6)


def test_a_walk_estimates_with_more_and_more_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The t-th estimate takes B₀·√t queries."""
    monkeypatch.setattr(hopskipjump, "FIRST_BATCH", 10)
    model, inputs, labels = two_classes(1)
    search, taken = HopSkipJump(TASK, "L2", 1e-3, 400), dict[int, int]()
    rows = search.begin(Batch.untargeted(inputs, labels, [5]), [0])
    for number in range(400):
        if rows.phase.item() == hopskipjump.PROBES:
            taken[int(rows.estimate)] = taken.get(int(rows.estimate), 0) + 1
        rows = search.advance(model, rows, [number]).rows
    assert list(taken.values())[:5] == [10, 14, 17, 20, 22]


def test_blocks_are_those_of_the_paper() -> None:
    """All, then halves, quarters, …, of ⌈d / 2^s⌉ values in memory order; at last single ones."""
    up = torch.ones(1, 2, 5, dtype=torch.bool)

    def places(level: int, block: int) -> list[int]:
        return flipped(up, torch.tensor([level]), torch.tensor([block])).flatten().nonzero().flatten().tolist()

    assert places(-1, 0) == []
    assert places(0, 0) == list(range(10))
    assert [places(1, block) for block in (0, 1)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [places(2, block) for block in range(4)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert [places(level, 9) for level in (4, 5, 60)] == [[9]] * 3


class NeedsColor(nn.Module):
    """Wrong only on pictures of one color (in all pixels), so that noise of no kind starts a walk."""

    def forward(self, x: Tensor) -> Tensor:
        spread = x.flatten(2).std(dim=2).amax(dim=1)
        return torch.stack([spread, torch.full_like(spread, 0.01)], dim=1)


class NeedsCorners(nn.Module):
    """Wrong only where many pixels are black or white."""

    def forward(self, x: Tensor) -> Tensor:
        share = ((x - 0.5).abs() > 0.45).float().flatten(1).mean(dim=1)
        return torch.stack([torch.full_like(share, 0.5), share], dim=1)


@pytest.mark.parametrize("model", [NeedsColor(), NeedsCorners()])
def test_a_walk_begins_also_where_uniform_noise_is_never_wrong(model: nn.Module) -> None:
    inputs, labels = (
        torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)),
        torch.zeros(6, dtype=torch.long),
    )
    adv = searched(HopSkipJump(TASK, "Linf", 1.0, 10), model, inputs, labels)
    assert not right(model, adv, labels).any()
    noise = streams.uniform(torch.arange(200), torch.ones(200, dtype=torch.long), 48).view(200, 3, 4, 4)
    assert right(model, noise, torch.zeros(200, dtype=torch.long)).all()


def test_starts_are_random_points_of_the_box() -> None:
    like, keys = torch.zeros(60, 2, 3, 3), torch.arange(60)
    noise, corners, color = (start(keys, torch.full((60,), number), like) for number in (1, 2, 3))
    assert (noise.unique().numel(), corners.unique().tolist()) == (60 * 18, [0, 1])
    assert torch.equal(color, color[:, :, :1, :1].expand_as(color))
    assert color.unique().numel() == 120
    for points in (noise, corners, color):
        assert points.min() >= 0
        assert points.max() <= 1
        assert abs(float(points.mean()) - 0.5) < 0.08


def test_draws_are_those_of_the_generator_and_of_their_distributions() -> None:
    """The first outputs of SplitMix64 with seed 1234567, as its reference implementation prints them."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state = 1234567 + torch.arange(1, 5) * streams._GAMMA
    assert [value % (1 << 64) for value in streams._mixed(state).tolist()] == published
    keys, numbers = torch.tensor([5, 5, 9]), torch.tensor([0, 1, 0])

    def moments(draw: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor:
        values = draw(keys, numbers, 40_000).double()
        assert torch.equal(draw(keys[2:], numbers[2:], 40_000).double(), values[2:])
        assert torch.corrcoef(values).fill_diagonal_(0).abs().max() < 0.02
        assert torch.corrcoef(torch.stack([values[0, 1:], values[0, :-1]]))[0, 1].abs() < 0.02
        return torch.stack([values.mean(), values.square().mean(), values.pow(4).mean()])

    for draw, expected in (
        (streams.uniform, [1 / 2, 1 / 3, 1 / 5]),
        (streams.signs, [0, 1, 1]),
        (streams.normal, [0, 1, 3]),
    ):
        assert torch.allclose(moments(draw), torch.tensor(expected, dtype=torch.double), atol=0.01, rtol=0.03)
