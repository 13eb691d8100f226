"""Preprocessing as first layer does the arithmetic it says, at any rank, and refuses what cannot be meant."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stein_bench.errors import UsageError
from stein_bench.models.outputs import logits
from stein_bench.models.preprocessing import Preprocessed, check_preprocessing
from stein_bench.models.sources import find_model


class Pooled(nn.Module):
    """The mean over space, then a linear layer: its logits are known in closed form."""

    def __init__(self, channels: int, classes: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(2).mean(2))


@pytest.mark.parametrize("shape", [(5, 3, 8), (5, 3, 8, 6), (5, 3, 4, 5, 6)])
@pytest.mark.parametrize(("mean", "std"), [((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), ((0.4,), (0.5, 0.6, 0.7))])
def test_logits_are_those_of_the_scaled_input(shape, mean, std):
    """W((mean(x) - m) / s) + b, computed channel by channel, at every rank."""
    torch.manual_seed(0)
    network, x = Pooled(3), torch.rand(shape)
    pooled = x.flatten(2).mean(2)
    columns = [(pooled[:, c] - (mean * 3)[c]) / std[c] for c in range(3)]
    expected = torch.stack(columns, dim=1) @ network.fc.weight.T + network.fc.bias
    torch.testing.assert_close(Preprocessed(network, mean, std)(x), expected)


def test_mean_0_and_std_1_change_nothing():
    network, x = Pooled(3), torch.rand(2, 3, 4, 4)
    assert torch.equal(Preprocessed(network, (0.0,), (1.0,))(x), network(x))


def test_the_state_dict_is_the_networks_own():
    network = Pooled(3)
    assert set(Preprocessed(network, (0.5,), (0.5,)).state_dict()) == {"network.fc.weight", "network.fc.bias"}
    assert Preprocessed(network, (0.5,), (0.5,)).network is network


def test_gradients_reach_the_input_divided_by_std():
    network, x = Pooled(1, classes=1), torch.rand(1, 1, 2, 2, requires_grad=True)
    Preprocessed(network, (0.5,), (0.25,))(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, network.fc.weight.item() / 4 / 0.25))


def test_bf16_runs_the_network_in_bf16_and_gives_float32_logits():
    seen = []
    network = Pooled(3)
    network.fc.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    x = torch.rand(2, 3, 4, 4, requires_grad=True)
    output = Preprocessed(network, (0.5,), (0.5,), precision="bf16")(x)
    output.sum().backward()
    assert (seen, output.dtype) == ([torch.bfloat16], torch.float32)
    assert x.grad is not None
    assert x.grad.abs().min() > 0
    torch.testing.assert_close(output, Preprocessed(network, (0.5,), (0.5,))(x), atol=0.02, rtol=0.02)


def test_fp32_stays_fp32():
    output = Preprocessed(Pooled(3), (0.5,), (0.5,))(torch.rand(2, 3, 4, 4))
    assert output.dtype == torch.float32


def test_the_input_is_not_changed():
    x = torch.rand(2, 3, 4, 4)
    before = x.clone()
    Preprocessed(Pooled(3), (0.5,), (0.5,))(x)
    assert torch.equal(x, before)


def test_three_means_do_not_turn_one_channel_into_three():
    model = Preprocessed(Pooled(3), (0.1, 0.2, 0.3), (0.5,))
    with pytest.raises(UsageError, match=r"^mean and std are for 3 channels, the inputs have 1\.$"):
        model(torch.rand(2, 1, 4, 4))


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match=r"^unknown precision 'fp16'\. Did you mean 'bf16'\?$"):
        Preprocessed(Pooled(3), (0.5,), (0.5,), precision="fp16")


@pytest.mark.parametrize(
    ("mean", "std", "channels", "message"),
    [
        ((), (1.0,), 3, r"^mean has no values\.$"),
        ((0.5,), (), None, r"^std has no values\.$"),
        ((0.5, 0.5), (1.0,), 3, r"^mean has 2 values, but the inputs have 3 channels\.$"),
        ((0.5,), (1.0, 1.0, 1.0), 1, r"^std has 3 values, but the inputs have 1 channels\.$"),
        ((0.5, 0.5), (1.0, 1.0, 1.0), None, r"^mean has 2 values, but std has 3\.$"),
        ((math.nan,), (1.0,), 3, r"^mean has a value that is not finite: nan$"),
        ((0.5,), (math.inf,), 3, r"^std has a value that is not finite: inf$"),
        ((0.5,), (0.2, 0.0, 0.2), 3, r"^std has a value that is not above 0: 0\.2, 0, 0\.2$"),
        ((0.5,), (-0.2,), 3, r"^std has a value that is not above 0: -0\.2$"),
    ],
)
def test_a_mean_or_std_that_cannot_be_meant_is_refused(mean, std, channels, message):
    with pytest.raises(UsageError, match=message):
        check_preprocessing(mean, std, channels)


@given(
    mean=st.lists(st.floats(-10, 10), min_size=1, max_size=5),
    std=st.lists(st.floats(1e-3, 10), min_size=1, max_size=5),
    channels=st.integers(1, 5),
)
def test_what_passes_the_check_runs(mean, std, channels):
    """Whatever `check_preprocessing` lets through for C channels works on inputs of C channels."""
    try:
        check_preprocessing(mean, std, channels)
    except UsageError:
        assert len(mean) not in (1, channels) or len(std) not in (1, channels)
        return
    assert Preprocessed(Pooled(channels), mean, std)(torch.rand(2, channels, 2, 2)).shape == (2, 4)


class Scores(NamedTuple):
    aux: Tensor
    logits: Tensor


@pytest.mark.parametrize(
    "wrap",
    [
        lambda scores: scores,
        lambda scores: (scores, torch.zeros(1)),
        lambda scores: [scores],
        lambda scores: {"aux": torch.zeros(1), "logits": scores},
        lambda scores: {"out": scores},
        lambda scores: Scores(aux=torch.zeros(2, 3), logits=scores),
    ],
)
def test_logits_are_found_in_what_networks_return(wrap):
    scores = torch.rand(2, 3)
    assert logits(wrap(scores)) is scores


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"scores": 1, "boxes": 2}, r"returned a dict with the keys 'scores', 'boxes', expected logits"),
        ((), r"returned a tuple of nothing, expected logits"),
        (([1], 2), r"returned a tuple of list, int, expected logits"),
        (None, r"returned an object of type NoneType, expected logits of shape \(n, classes\)\.$"),
        (torch.zeros(()), r"returned float32 of shape \(\), expected logits"),
        (torch.zeros(2, 3, dtype=torch.int64), r"returned int64 of shape \(2, 3\), expected logits"),
    ],
)
def test_what_holds_no_logits_is_refused_by_what_it_is(output, message):
    with pytest.raises(UsageError, match=message):
        logits(output)


def test_torchvisions_auxiliary_heads_are_unwrapped_in_training():
    network = find_model("torchvision:googlenet").build(num_classes=5).train()
    assert not isinstance(network(torch.rand(2, 3, 64, 64)), Tensor)
    assert Preprocessed(network, (0.5,), (0.5,))(torch.rand(2, 3, 64, 64)).shape == (2, 5)
