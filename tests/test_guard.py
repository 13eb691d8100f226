"""Guards restore all state that is changed inside them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from stein_bench.guard import forked_rng, model_untouched, repeatable_backends


class BoomError(Exception):
    """Something that an attack raises."""


def mixed_model():
    """A model in a state that no simple `train()` or `eval()` restores."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    model(torch.randn(8, 4)).sum().backward()
    model[3].weight.grad = None
    model[0].bias.requires_grad_(False)
    model[1].eval()
    return model


def state(model):
    """Flags, gradients and values of everything, gradients by identity and by value."""
    return {
        "training": [module.training for module in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()],
        "values": {name: value.tolist() for name, value in model.state_dict().items()},
    }


def meddle(model):
    """Do what careless attack libraries do to a model."""
    model.train()
    model(torch.randn(8, 4))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.grad = torch.ones_like(parameter)
    model[1].running_mean.fill_(float("nan"))


@pytest.mark.parametrize("exception", [None, BoomError, KeyboardInterrupt])
def test_a_model_is_as_it_was_whether_the_body_ends_raises_or_is_interrupted(exception):
    model = mixed_model()
    before = state(model)
    assert len(set(before["training"])) == len(set(before["requires_grad"])) == 2
    try:
        with model_untouched(model):
            meddle(model)
            assert state(model) != before
            if exception:
                raise exception
    except (BoomError, KeyboardInterrupt):
        assert exception is not None
    assert state(model) == before


def test_inside_the_model_is_in_eval_mode_and_frozen():
    model = mixed_model()
    with model_untouched(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        inputs = torch.randn(2, 4, requires_grad=True)
        model(inputs).sum().backward()
        assert inputs.grad is not None


def test_buffers_that_were_not_finite_before_are_restored_too():
    model = mixed_model()
    model[1].running_mean.fill_(float("inf"))
    model[1].running_var[0] = float("nan")
    with model_untouched(model):
        model[1].running_mean.zero_()
        model[1].running_var.zero_()
    assert model[1].running_mean.isinf().all()
    assert model[1].running_var.isnan().tolist() == [True] + [False] * 5


class Replacing(nn.Module):
    """Counts its calls by putting a new tensor in its buffer's place."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs):
        self.calls = self.calls + 1
        return inputs + self.calls


def test_a_buffer_that_was_replaced_is_the_old_one_again():
    model = Replacing()
    buffer = model.calls
    with model_untouched(model):
        model(torch.zeros(1))
        model(torch.zeros(1))
    assert model.calls is buffer
    assert model.calls == 0


def rng_states():
    numpy_state = np.random.get_state()
    return (
        random.getstate(),
        (numpy_state[0], numpy_state[1].tobytes(), *numpy_state[2:]),
        torch.get_rng_state().numpy().tobytes(),
    )


def draw():
    return (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), torch.randperm(9).tolist())


@pytest.mark.parametrize("exception", [None, BoomError, KeyboardInterrupt])
def test_the_global_generators_are_bit_identical_afterwards(exception):
    draw()
    np.random.randn()  # leaves half of a pair of normals in NumPy's state
    before = rng_states()
    try:
        with forked_rng(5):
            draw()
            torch.manual_seed(1)
            np.random.seed(1)
            random.seed(1)
            assert rng_states() != before
            if exception:
                raise exception
    except (BoomError, KeyboardInterrupt):
        assert exception is not None
    assert rng_states() == before


@pytest.mark.parametrize("seed", [0, 5, 2**32, 2**63 - 1])
def test_the_same_seed_draws_the_same_whatever_was_drawn_before(seed):
    with forked_rng(seed):
        first = draw()
    draw()
    with forked_rng(seed):
        assert draw() == first
    with forked_rng(seed ^ 1):
        other = draw()
    assert all(one != another for one, another in zip(first, other, strict=True))


def test_a_fork_within_a_fork_leaves_the_outer_one_alone():
    with forked_rng(1):
        draw()
        expected = draw()
    with forked_rng(1):
        draw()
        with forked_rng(2):
            draw()
        assert draw() == expected


def switches():
    cudnn = torch.backends.cudnn
    return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def other_switches(monkeypatch):
    """Start from the opposite of what the guard asks for; put torch's own values back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = switches()
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, True, True, True
    yield
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.mark.parametrize("exception", [None, BoomError, KeyboardInterrupt])
def test_backend_switches_are_repeatable_inside_and_restored_afterwards(other_switches, exception):
    before = switches()
    assert before == (False, True, True, True)
    try:
        with repeatable_backends():
            assert switches() == (True, False, False, False)
            if exception:
                raise exception
    except (BoomError, KeyboardInterrupt):
        assert exception is not None
    assert switches() == before
