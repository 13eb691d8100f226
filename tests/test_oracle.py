"""The package against `oracle`, which was written from the papers alone: iterates, verdicts, statistics, layers.

A few random cases of each kind run always, hundreds with ``-m slow``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import stein_bench
from stein_bench.attacks.apgd import APGD
from stein_bench.attacks.apgd import checkpoints as package_checkpoints
from stein_bench.attacks.attack import attack_seeds, resolve_attacks
from stein_bench.attacks.geometry import random_start
from stein_bench.attacks.gradient import PGD
from stein_bench.attacks.losses import task_loss
from stein_bench.attacks.search import Batch
from stein_bench.measures.outcome import RightOrWrong
from stein_bench.normalization import SteinBatchNorm1d, SteinBatchNorm2d, SteinBatchNorm3d
from stein_bench.statistics import auc as package_auc
from stein_bench.statistics import calibration, class_counts, paired_tests, rates
from stein_bench.tasks import Classification
from tests import oracle
from tests.attacks.known import searched

TASK = Classification()
ESTIMATORS = ("sample", "stein", "stein-mean", "jsnorm", "james-stein", "ridge:0.3", "lasso:0.02")


def cases(few: int, many: int) -> list:
    """The first `few` numbers run always, the others if slow tests do."""
    return [*range(few), pytest.param(range(few, many), marks=pytest.mark.slow, id=f"{few}-{many}")]


def each(case: int | range) -> range:
    return range(case, case + 1) if isinstance(case, int) else case


def problem(seed: int, *, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, torch.Tensor, torch.Tensor, dict]:
    """A random small network, four inputs near its boundaries, their labels and a budget."""
    random = np.random.default_rng(seed)
    classes, size, channels = (int(random.integers(*bounds)) for bounds in ((2, 8), (3, 7), (1, 4)))
    torch.manual_seed(seed)
    hidden = int(random.integers(4, 24))
    kind = random.choice(["convolution", "perceptron", "normalized"])
    if kind == "perceptron":
        layers = [nn.Flatten(), nn.Linear(channels * size * size, hidden), nn.Tanh(), nn.Linear(hidden, classes)]
    else:
        norm = [nn.BatchNorm2d(hidden)] if kind == "normalized" else []
        layers = [nn.Conv2d(channels, hidden, 3, padding=1), *norm, nn.ReLU(), nn.Flatten()]
        layers += [nn.Linear(hidden * size * size, classes)]
    model = nn.Sequential(*layers).to(dtype).requires_grad_(False)
    with torch.no_grad():
        model[-1].weight.mul_(float(random.choice([1, 4, 16])))
        inputs = torch.rand(4, channels, size, size, dtype=dtype)
        inputs = torch.where(inputs < 0.15, 0.0, torch.where(inputs > 0.85, 1.0, inputs))  # at the edge of the box, too
        model(inputs)  # the running averages of a normalized one
        model.eval()
        labels = model(inputs).argmax(1)
        labels[0] = int(random.integers(classes))  # possibly wrong from the start
    norm = str(random.choice(["Linf", "L2"]))
    eps = float(random.uniform(0.005, 0.15)) * (1 if norm == "Linf" else 4)
    return model, inputs, labels, {"norm": norm, "eps": eps, "steps": int(random.integers(3, 41))}


def path_of(search: PGD | APGD, model: nn.Module, batch: Batch) -> list[torch.Tensor]:
    """The points that a search evaluates, all samples side by side."""
    rows = search.begin(batch, [0] * len(batch.inputs))
    points = []
    for number in range(search.iterations + 1 if isinstance(search, APGD) else search.steps):
        rows, evaluated, *_ = search.advance(model, rows, [number] * len(batch.inputs))
        points.append(evaluated)
    return points if isinstance(search, APGD) else [*points, search.last(rows)]


@pytest.mark.parametrize("case", cases(3, 120))
@pytest.mark.parametrize("attack", ["pgd", "apgd"])
def test_the_iterates_are_those_of_the_papers(attack, case):
    for seed in each(case):
        model, inputs, labels, budget = problem(seed)
        norm, eps, steps = budget["norm"], budget["eps"], budget["steps"]
        alpha = 2.5 * eps / steps
        start = random_start(inputs.shape, range(4), norm, eps).double()
        batch = Batch.untargeted(inputs, labels, range(4))
        if attack == "pgd":
            search: PGD | APGD = PGD(TASK, norm, eps, alpha, steps, start=lambda *_, start=start: start)
        else:
            search = APGD(TASK, task_loss(TASK), norm, eps, steps, start=lambda *_, start=start: start)
        found = path_of(search, model, batch)
        for row in range(len(inputs)):
            x, label = inputs[row], int(labels[row])
            if attack == "pgd":
                expected = oracle.pgd(model, x, label, norm, eps, alpha, steps, start[row])
            else:
                # The package compares losses in float32, whatever the network computes in.
                expected = oracle.apgd(model, x, label, norm, eps, steps, start[row], np.float32)
            assert len(found) == len(expected)
            for number, point in enumerate(expected):
                assert (found[number][row] - point).abs().max() < 1e-6, (seed, row, number, budget)
        verdicts = [oracle.is_robust(model, [points[row] for points in found], int(labels[row])) for row in range(4)]
        kept = searched(search, model, inputs, labels)
        assert TASK.correct(model(kept), labels).tolist() == verdicts


def test_checkpoints_are_those_of_the_paper():
    for steps in range(1, 1001):
        assert [0, *package_checkpoints(steps)] == oracle.checkpoints(steps)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_random_starts_are_uniform_in_the_ball(norm):
    starts = random_start((4000, 1, 1, 3), range(4000), norm, 0.5).flatten(1).double() / 0.5
    if norm == "Linf":
        uniform = (starts.flatten().sort().values + 1) / 2  # every value by itself
    else:
        assert (starts.mean(dim=0).abs() < 0.03).all()  # no direction is preferred
        uniform = starts.norm(dim=1).sort().values ** 3  # the share of the ball within this radius
    steps = (torch.arange(len(uniform)) + 0.5) / len(uniform)
    assert (uniform - steps).abs().max() < 1.63 / math.sqrt(len(uniform))  # Kolmogorov and Smirnov, 1 %


@pytest.mark.parametrize("case", cases(1, 5))
def test_a_report_has_the_oracles_figures(case, unchecked):
    for seed in each(case):
        model, inputs, labels, _ = problem(seed, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.rand(24, *inputs.shape[1:], generator=generator)
        labels = model(inputs).argmax(1)
        labels[::5] = (labels[::5] + 1) % model[-1].out_features  # wrong from the start
        labels[0] = model[-1].out_features - 1
        specs = [
            "pgd:steps=7,alpha=0.02",
            "pgd:norm=L2,eps=0.4,steps=7,alpha=0.15,random_start=false",
            "apgd-ce:steps=9",
        ]
        report = stein_bench.evaluate(model, (inputs, labels), specs, eps=0.04, progress=False)
        robust = []
        for spec in specs:
            attack = resolve_attacks([spec], [0.04])[0]
            seeds = attack_seeds(0, attack, [f"python/test/{row:04}" for row in range(24)])
            starts = random_start(inputs.shape, seeds, attack.norm, attack.eps)
            robust.append([])
            for x, label, start in zip(inputs, labels.tolist(), starts, strict=True):
                budget = (attack.norm, attack.eps)
                if attack.info.name == "pgd":
                    start = start * attack.params["random_start"]
                    path = oracle.pgd(model, x, label, *budget, attack.params["alpha"], 7, start)
                else:
                    path = oracle.apgd(model, x, label, *budget, 9, start)
                robust[-1].append(oracle.is_robust(model, path, label))
        clean = [oracle.is_robust(model, [x], label) for x, label in zip(inputs, labels.tolist(), strict=True)]
        variant = report.variants[0]
        assert report.outcomes().tolist() == clean
        for attack, survived in zip(variant.attacks, robust, strict=True):
            both = [right and stays for right, stays in zip(clean, survived, strict=True)]
            assert attack.robust_accuracy == pytest.approx(sum(both) / 24), attack.label
            assert attack.ci95 == pytest.approx(oracle.wilson(sum(both), 24), abs=1e-12)
            assert attack.attack_success_rate == pytest.approx(1 - sum(both) / sum(clean))
        assert variant.worst_case_accuracy == pytest.approx(sum(oracle.worst_case(clean, robust)) / 24)


@pytest.mark.parametrize("case", cases(20, 3000))
def test_statistics_of_random_tables(case):
    for seed in each(case):
        random = np.random.default_rng(seed)
        n = int(random.choice([1, 2, 7, 30, 100, 2000], p=[0.1, 0.1, 0.2, 0.3, 0.29, 0.01]))
        first, second = (random.random(n) < random.choice([0, 0.03, 0.5, 0.9, 1]) for _ in range(2))
        counts = paired_tests.count(first, second)
        for right in (counts.both + counts.lost, counts.gained):
            rate = rates.wilson(right, n)
            assert (rate.low, rate.high) == pytest.approx(oracle.wilson(right, n), abs=1e-10)
        found = paired_tests.paired(first, second)
        assert found.p_drop == pytest.approx(float(oracle.mcnemar(counts.lost, counts.gained)), rel=1e-10)
        assert found.p_gain == pytest.approx(float(oracle.mcnemar(counts.gained, counts.lost)), rel=1e-10)
        table = (counts.both, counts.lost, counts.gained, counts.neither)
        expected = oracle.newcombe(*table)
        assert found.interval == pytest.approx((max(-1, expected[0]), min(1, expected[1])), abs=1e-10)
        losses = random.integers(-4, 5, int(random.integers(1, 8)))
        assert paired_tests.flip_test(losses) == pytest.approx(oracle.flip_test(losses.tolist()), abs=1e-10)
        ps = np.round(random.random(int(random.integers(1, 9))) ** 3, 2).tolist()  # with ties
        assert paired_tests.holm(ps) == pytest.approx(oracle.holm(ps), abs=1e-10)
        scores, positive = np.round(random.random(n), 1), first
        if positive.any() and not positive.all() and n < 300:
            area = package_auc.auc(scores, positive)
            assert area is not None
            assert area.value == pytest.approx(oracle.auc(scores.tolist(), positive.tolist()), abs=1e-10)
        confidence = np.where(random.random(n) < 0.2, random.integers(0, 16, n) / 15, random.random(n))
        ece = calibration.calibration_error(confidence, second)
        assert ece == pytest.approx(oracle.calibration_error(confidence.tolist(), second.tolist()), abs=1e-10)


@pytest.mark.parametrize("case", cases(10, 1500))
def test_worst_cases_and_miou_of_random_outcomes(case):
    for seed in each(case):
        random = np.random.default_rng(seed)
        clean, *attacks = random.random((4, 40)) < 0.6
        robust = [RightOrWrong(clean).under_attack(RightOrWrong(one), np.zeros(40, np.bool_)) for one in attacks]
        worst = RightOrWrong.worst_case(robust)
        assert worst.correct.tolist() == oracle.worst_case(clean.tolist(), [one.tolist() for one in attacks])
        classes, images = int(random.integers(1, 6)), int(random.integers(1, 5))
        shape = (images, int(random.integers(1, 7)), 5)
        target = np.where(random.random(shape) < 0.2, 255, random.integers(0, classes, shape))
        predicted = random.integers(0, classes, shape)
        per_image = [oracle.confusion(*pair, classes) for pair in zip(predicted, target, strict=True)]
        columns = np.array(per_image).transpose(2, 0, 1)
        counts = class_counts.ClassCounts(*columns)
        expected = [oracle.miou(per_image), *(oracle.miou([image]) for image in per_image)]
        found = [float(class_counts.miou(counts.total())), *class_counts.image_miou(counts)]
        assert found == pytest.approx(expected, abs=1e-10, nan_ok=True)
        assert class_counts.metrics(counts.total())[0] == pytest.approx(expected[0], abs=1e-10, nan_ok=True)
        labels = torch.from_numpy(target).long()
        logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), classes).movedim(-1, 1).float()
        outcomes = stein_bench.tasks.TASKS["segmentation"].outcomes(logits, labels)
        for name, column in zip(("intersection", "prediction", "target"), columns, strict=True):
            assert np.array_equal(outcomes[name].numpy()[:, :classes], column), name


LAYERS = {1: SteinBatchNorm1d, 2: SteinBatchNorm2d, 3: SteinBatchNorm3d}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("case", cases(2, 100))
def test_layers_and_their_gradients_are_those_of_the_formulas(name, case):
    for seed in each(case):
        random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        spatial = int(random.integers(1, 4))
        channels = int(random.choice([1, 2, 3, 4, 9, 40]))
        shape = (int(random.integers(2, 9)), channels, *random.integers(1, 5, spatial).tolist())
        momentum, eps = float(random.choice([0.1, 0.4])), float(random.choice([1e-5, 1e-3]))
        layer = LAYERS[spatial](channels, eps=eps, momentum=momentum, estimator=name).double()
        with torch.no_grad():
            layer.weight.copy_(torch.randn(channels))
            layer.bias.copy_(torch.randn(channels))
        offset = float(random.choice([0, 3])) + torch.randn(channels, dtype=torch.float64).view(-1, *[1] * spatial)
        running = (torch.zeros(channels).double(), torch.ones(channels).double(), 0)
        for mode in ("training", "running", "training", "batch", "running"):
            x = (torch.randn(shape, dtype=torch.float64) * random.uniform(0.1, 3) + offset).requires_grad_()
            layer.train(mode == "training")
            layer.stats = "batch" if mode == "batch" else "running"
            gamma, beta = (p.detach().clone().requires_grad_() for p in (layer.weight, layer.bias))
            if mode == "running":
                expected = oracle.by_averages(name, x, running, gamma, beta, eps)
            else:
                expected = oracle.by_batch(name, x, gamma, beta, eps)
            found = layer(x)
            assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), (seed, mode)
            direction = torch.randn_like(found)
            wanted = torch.autograd.grad(expected, (x, gamma, beta), direction)
            gradients = torch.autograd.grad(found, (x, layer.weight, layer.bias), direction)
            for one, other in zip(gradients, wanted, strict=True):
                scale = 1 + other.abs().max()
                assert ((one - other).abs().max() / scale) < 1e-7, (seed, mode, shape)
            if mode == "training":
                running = oracle.averaged(running, x.detach(), momentum)
            for buffer, value in zip((layer.running_mean, layer.running_var), running[:2], strict=True):
                assert torch.allclose(buffer, value, rtol=1e-9, atol=1e-9), (seed, mode)
            assert int(layer.count) == running[2]
