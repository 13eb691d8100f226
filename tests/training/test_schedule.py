"""Optimizers and learning rates against closed forms and torch's own schedules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR

from stein_bench.training.schedule import make_optimizer, make_schedule
from tests.training.small import recipe

STEPS = 5


def rates(**changes):
    """Return the learning rate at every step of a recipe with `STEPS` steps per epoch."""
    chosen = recipe(**changes)
    optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], chosen)
    schedule = make_schedule(optimizer, chosen, STEPS)
    found = []
    for _ in range(chosen.epochs * STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def torch_rates(make, epochs):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    schedule = make(optimizer)
    found = []
    for _ in range(epochs * STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_constant():
    assert rates(epochs=2) == [0.1] * 10


def test_cosine_matches_torch():
    expected = torch_rates(lambda optimizer: CosineAnnealingLR(optimizer, 4 * STEPS), 4)
    assert rates(schedule="cosine", epochs=4) == pytest.approx(expected)


def test_steps_match_torch():
    expected = torch_rates(lambda optimizer: MultiStepLR(optimizer, [2 * STEPS, 3 * STEPS], 0.2), 4)
    assert rates(schedule="step", step_epochs=(2, 3), step_factor=0.2, epochs=4) == pytest.approx(expected)


@pytest.mark.parametrize(("warmup", "share"), [(0, 0.3), (2, 0.5)])
def test_one_cycle_matches_torch(warmup, share):
    expected = torch_rates(lambda optimizer: OneCycleLR(optimizer, 0.1, 4 * STEPS, pct_start=share), 4)
    assert rates(schedule="one-cycle", warmup_epochs=warmup, epochs=4) == pytest.approx(expected)


def test_a_warm_up_rises_linearly_and_the_cosine_follows_from_the_peak():
    found = rates(schedule="cosine", warmup_epochs=2, epochs=4)
    assert found[:10] == pytest.approx([0.01 * step for step in range(1, 11)])
    assert found[10:] == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 10)) for step in range(10)])


def test_one_cycle_cycles_the_momentum_only_if_set():
    for cycles, expected in ((True, 0.95), (False, 0.9)):
        chosen = recipe(schedule="one-cycle", cycle_momentum=cycles)
        optimizer = make_optimizer([nn.Parameter(torch.zeros(1))], chosen)
        make_schedule(optimizer, chosen, STEPS)
        assert optimizer.param_groups[0]["momentum"] == expected


def minimized(chosen, steps=4):
    """Follow the gradient of x²/2 from 1."""
    x = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = make_optimizer([x], chosen)
    for _ in range(steps):
        optimizer.zero_grad()
        (x.square() / 2).sum().backward()
        optimizer.step()
    return float(x.detach())


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_matches_the_textbook(nesterov):
    """v ← μ·v + g, x ← x - η·v, or with Nesterov's look ahead x ← x - η·(g + μ·v); g includes λ·x."""
    x, velocity = 1.0, 0.0
    for _ in range(4):
        gradient = x + 0.2 * x
        velocity = 0.8 * velocity + gradient
        x -= 0.1 * (gradient + 0.8 * velocity if nesterov else velocity)
    found = minimized(recipe(momentum=0.8, nesterov=nesterov, weight_decay=0.2))
    assert found == pytest.approx(x, rel=1e-12)


def test_adamw_matches_the_paper():
    """Loshchilov and Hutter (2019), algorithm 2, with β = (0.9, 0.999) and ε = 1e-8."""
    x, first, second = 1.0, 0.0, 0.0
    for step in range(1, 5):
        gradient = x
        x -= 0.1 * 0.2 * x
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        x -= 0.1 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    found = minimized(recipe(optimizer="adamw", weight_decay=0.2))
    assert found == pytest.approx(x, rel=1e-9)
