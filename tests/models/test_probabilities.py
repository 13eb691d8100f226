"""Models that return probabilities are recognized, and the logits behind them recovered."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.probabilities import (
    BehindProbabilities,
    Probabilities,
    are_probabilities,
    recognized,
    temperature,
)

INPUTS = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Ending(nn.Module):
    """A small network (dense: one output per pixel) with a function after its logits, which are scaled."""

    def __init__(self, ending, *, scale=1.0, dense=False, outputs=4) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.linear = nn.Conv2d(3, outputs, 3, padding=1), nn.Linear(48, outputs)
        self.ending, self.scale, self.dense = ending, scale, dense

    def scores(self, x):
        return self.scale * (self.conv(x) if self.dense else self.linear(x.flatten(1)))

    def forward(self, x):
        return self.ending(self.scores(x))


def attention(z):
    """A softmax within the network, not at its end."""
    return z * torch.softmax(z, 1)


FOUND = {
    "torch.softmax": lambda z: torch.softmax(z, 1),
    "F.softmax": lambda z: F.softmax(z, dim=1),
    "F.softmax with keywords": lambda z: F.softmax(input=z, dim=1),
    "Tensor.softmax": lambda z: z.softmax(-1),
    "nn.Softmax": nn.Softmax(dim=1),
    "special.softmax": lambda z: torch.special.softmax(z, 1),
    "in a dictionary": lambda z: {"out": torch.softmax(z, 1)},
    "as a tuple": lambda z: (torch.softmax(z, 1), z),
    "reshaped": lambda z: torch.softmax(z[..., None, None], 1).flatten(1),
    "after another": lambda z: torch.softmax(attention(z), 1),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_went_into_the_last_softmax_is_read_off(name):
    """The logits are bit-identical to those that the network computed."""
    network = Ending(FOUND[name])
    model = Preprocessed(network, [0.5], [0.25])
    how = recognized(model, INPUTS)
    assert how == Probabilities("softmax", found=True)
    expected = network.scores((INPUTS - 0.5) / 0.25)
    expected = attention(expected) if name == "after another" else expected
    assert torch.equal(BehindProbabilities(model, how)(INPUTS), expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_softmax_of_every_pixel_is_read_off_in_any_memory_format(channels_last):
    network = Ending(nn.Softmax2d(), dense=True)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    model = Preprocessed(network, [0.0], [1.0])
    inputs = INPUTS.contiguous(memory_format=torch.channels_last) if channels_last else INPUTS
    how = recognized(model, inputs)
    assert how == Probabilities("softmax", found=True)
    assert torch.equal(BehindProbabilities(model, how)(inputs), network.scores(inputs))


LOGITS = {
    "logits": lambda z: z,
    "attention only": attention,
    "log-softmax": lambda z: torch.log_softmax(z, 1),
    "softmax over the batch": lambda z: torch.softmax(z, 0),
    "not finite": lambda z: torch.softmax(z, 1) * math.nan,
    "sums to 2": lambda z: 2 * torch.softmax(z, 1),
    "negative": lambda z: torch.cat((z, 1 - z.sum(dim=1, keepdim=True)), dim=1),
    "gate": lambda z: z * torch.sigmoid(z),
    "sigmoid scaled in place": lambda z: torch.sigmoid(z).mul_(2).sub_(1),
}


@pytest.mark.parametrize("name", LOGITS)
def test_other_outputs_are_taken_as_they_are(name):
    assert recognized(Preprocessed(Ending(LOGITS[name]), [0.0], [1.0]), INPUTS) is None


UNSEEN = {
    "times one": lambda z: torch.softmax(z, 1) * 1.0,
    "times one in place": lambda z: torch.softmax(z, 1).mul_(1.0),
    "mean of two": lambda z: (torch.softmax(z, 1) + torch.softmax(z + 0.0, 1)) / 2,
    "transposed": lambda z: torch.softmax(z.T, 0).T,
    "by hand": lambda z: z.exp() / z.exp().sum(dim=1, keepdim=True),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_else_logits_are_the_logarithm_in_float64(name):
    """Up to a constant per sample they are the logits, also where float32 probabilities are exactly 0."""
    network = Ending(UNSEEN[name], scale=300.0)
    model = Preprocessed(network, [0.0], [1.0])
    how = recognized(model, INPUTS) if name != "by hand" else Probabilities("softmax", found=False, in_float64=True)
    assert how == Probabilities("softmax", found=False, in_float64=True)
    scores, found = network.scores(INPUTS), BehindProbabilities(model, how)(INPUTS)
    assert (model(INPUTS) == 0).any() or name == "by hand"
    assert torch.allclose(found, torch.log_softmax(scores.double(), 1).float(), rtol=1e-4, atol=1e-4)


def test_the_gradient_does_not_vanish_where_the_probabilities_are_0_and_1():
    network = Ending(lambda z: torch.softmax(z, 1) * 1.0, scale=1000.0)
    model, inputs = Preprocessed(network, [0.0], [1.0]), INPUTS.clone().requires_grad_(True)
    labels = model(inputs).argmax(dim=1)
    F.cross_entropy(model(inputs), labels, reduction="sum").backward()
    assert (inputs.grad == 0).flatten(1).all(dim=1).any(), "saturated, as it should be for this test"
    inputs.grad = None
    how = Probabilities("softmax", found=False, in_float64=True, temperature=64.0)
    F.cross_entropy(BehindProbabilities(model, how)(inputs), labels, reduction="sum").backward()
    assert (inputs.grad != 0).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("outputs", [1, 4])
def test_sigmoids_are_recognized_by_the_function_alone(outputs):
    network = Ending(torch.sigmoid, outputs=outputs)
    model = Preprocessed(network, [0.0], [1.0])
    how = recognized(model, INPUTS)
    assert how == Probabilities("sigmoid", found=True)
    assert torch.equal(BehindProbabilities(model, how)(INPUTS), network.scores(INPUTS))
    assert recognized(Preprocessed(Ending(lambda z: 0.5 + 0 * z), [0.0], [1.0]), INPUTS) is None


@pytest.mark.filterwarnings("ignore")
def test_a_traced_program_hides_its_softmax_and_an_exported_one_shows_it():
    network = Ending(nn.Softmax(dim=1)).eval()
    traced = Preprocessed(torch.jit.trace(network, INPUTS), [0.0], [1.0])
    how = recognized(traced, INPUTS)
    assert how is not None
    assert not how.found
    expected = torch.log_softmax(network.scores(INPUTS), 1)
    assert torch.allclose(BehindProbabilities(traced, how)(INPUTS), expected, atol=1e-5)
    exported = Preprocessed(torch.export.export(network, (INPUTS,)).module(), [0.0], [1.0])
    assert recognized(exported, INPUTS) == Probabilities("softmax", found=True)


def test_a_network_that_insists_on_float32_is_not_run_in_float64():
    class Strict(Ending):
        def forward(self, x):
            return torch.softmax(F.linear(x.flatten(1).float(), self.linear.weight.float()), 1).float() * 1.0

    how = recognized(Preprocessed(Strict(None), [0.0], [1.0]), INPUTS)
    assert how == Probabilities("softmax", found=False, in_float64=False)


def test_bfloat16_softmaxes_sum_to_one_less_exactly():
    """100 classes: the rounding errors of the probabilities add up."""
    rows = torch.softmax(torch.randn(8, 100, generator=torch.Generator().manual_seed(2)), 1).bfloat16()
    assert not are_probabilities(rows + 0.0005)
    assert are_probabilities(rows, 2e-2)
    assert not are_probabilities(torch.ones(3, 1))
    assert not are_probabilities(torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(
    ("largest", "expected"), [(3.0, 1.0), (40.0, 1.0), (41.0, 2.0), (200.0, 8.0), (1e6, 32768.0), (math.inf, 1.0)]
)
def test_the_temperature_is_the_power_of_two_that_brings_the_gap_below_40(largest, expected):
    logits = torch.tensor([[0.0, largest, -500.0], [0.0, 1.0, 0.5]])
    assert temperature(logits) == expected
    assert temperature(torch.tensor([[largest], [-1.0]])) == expected


def test_the_single_probability_of_a_binary_model_becomes_a_finite_logit():
    """Class 1 is predicted above one half, which is a logit above 0."""
    network = Ending(torch.sigmoid, scale=200.0, outputs=1)
    model = Preprocessed(network, [0.0], [1.0], single_probability=True)
    logits, probabilities = model(INPUTS), network(INPUTS)
    assert ((logits > 0) == (probabilities > 0.5)).all()
    assert logits.isfinite().all()
    assert ((probabilities == 0) | (probabilities == 1)).any()
