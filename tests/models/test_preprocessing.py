"""Preprocessing as first layer does the arithmetic it says, at any rank, and refuses what cannot be meant."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from stein_bench.errors import UsageError
from stein_bench.models.outputs import logits, per_sample
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
        ((0.5,), (1.0, 1.0, 1.0), 1, r"^std has 3 values, but the inputs have 1 channel\. Give one value or"),
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


class ModelOutput(OrderedDict):
    """As in transformers: a dictionary whose entries are attributes too."""

    __getattr__ = OrderedDict.__getitem__


@dataclass
class Fields:
    features: Tensor
    pred: Tensor | None


@dataclass
class Only:
    anything: Tensor


class OutAndPred(NamedTuple):
    out: Tensor
    pred: Tensor


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
        lambda scores: ModelOutput(hidden_states=torch.zeros(2, 5), logits=scores),
        lambda scores: Fields(features=torch.zeros(2, 5), pred=scores),
        lambda scores: Only(scores),
        lambda scores: SimpleNamespace(logits=scores, embedding=torch.zeros(2, 5)),
        lambda scores: {"pred": scores, "features": torch.zeros(2, 5)},
        lambda scores: {"logits": scores, "preds": scores.argmax(dim=1), "out": torch.zeros(2, 5)},
        lambda scores: {"logits": None, "y_hat": scores, "aux": torch.zeros(2, 5)},
        lambda scores: {"whatever": scores, "loss": None},
        lambda scores: {"output": scores, "aux_output": torch.zeros(2, 3)},
    ],
)
def test_logits_are_found_in_what_networks_return(wrap):
    scores = torch.rand(2, 3)
    assert logits(wrap(scores)) is scores


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            {"cls": torch.zeros(2, 3), "det": torch.zeros(2, 5)},
            r"returned a dict with 'cls' \(2, 3\), 'det' \(2, 5\) \(which are the logits\? call them 'logits', or",
        ),
        (
            {"out": torch.zeros(2, 3), "pred": torch.zeros(2, 3)},
            r"'out' \(2, 3\), 'pred' \(2, 3\) \(which are the logits",
        ),
        (
            OutAndPred(torch.zeros(2, 3), torch.zeros(2, 4)),
            r"a OutAndPred with 'out' \(2, 3\), 'pred' \(2, 4\) \(which",
        ),
        ({"preds": torch.zeros(2, dtype=torch.int64)}, r"int64 of shape \(2,\), .*, not class indices\.$"),
        (torch.zeros(2, dtype=torch.bool), r"returned bool of shape \(2,\), .*: return the scores that its argmax"),
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


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((2, 3, 1, 1), (2, 3)), ((2, 3, 1), (2, 3)), ((2, 1, 1, 1, 1), (2, 1)), ((2, 3), (2, 3)), ((2,), (2,))],
)
def test_scores_with_one_position_per_sample_are_those_of_classification(shape, seen):
    scores = torch.rand(shape)
    assert torch.equal(per_sample(scores), scores.reshape(seen))


@pytest.mark.parametrize("shape", [(2, 3, 1, 2), (2, 3, 4, 4), (2, 1, 3)])
def test_scores_of_several_positions_stay(shape):
    assert per_sample(torch.rand(shape)).shape == shape


def test_a_dense_network_on_images_of_one_pixel_stays_dense():
    network, x = nn.Conv2d(3, 4, 1), torch.rand(2, 3, 1, 1)
    assert Preprocessed(network, (0.5,), (0.5,), dense=True)(x).shape == (2, 4, 1, 1)
    flat = Preprocessed(network, (0.5,), (0.5,))(x)
    assert torch.equal(flat, network((x - 0.5) / 0.5)[:, :, 0, 0])


class InHalf(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)).half()


def test_half_precision_is_not_reported_as_fp32():
    network = InHalf(12, 4)
    with pytest.raises(UsageError, match=r"^the model returned float16 under --precision fp32, so it computes in half"):
        Preprocessed(network, (0.5,), (0.5,))(torch.rand(2, 3, 2, 2))
    assert Preprocessed(network, (0.5,), (0.5,), "bf16")(torch.rand(2, 3, 2, 2)).dtype == torch.float32


class Refusing(nn.Module):
    """Raises for inputs that need a gradient, or for all."""

    def __init__(self, *, always=False):
        super().__init__()
        self.linear, self.always = nn.Linear(4, 3), always

    def forward(self, x):
        if x.requires_grad or self.always:
            raise RuntimeError("not with me")
        return self.linear(x.flatten(1))


def test_a_network_that_refuses_inputs_with_a_gradient_has_none():
    model, inputs = Preprocessed(Refusing(), [0.5], [0.5]), torch.rand(2, 1, 2, 2)
    outputs = model(inputs.clone().requires_grad_(True))
    assert torch.equal(outputs, model(inputs))
    assert not outputs.requires_grad
    with pytest.raises(RuntimeError, match="not with me"):
        Preprocessed(Refusing(always=True), [0.5], [0.5])(inputs.requires_grad_(True))
