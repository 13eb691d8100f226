"""Networks with every BN estimator and statistics source on a CUDA device give the logits and gradients of the CPU."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from stein_bench.models.preprocessing import Preprocessed
from stein_bench.normalization import layers as layers_module
from stein_bench.normalization.convert import batchnorm_stats, convert_batchnorm
from stein_bench.normalization.layers import SteinBatchNorm2d, SteinSyncBatchNorm
from tests.gpu.twins import CUDA, on_cuda, samples
from tests.normalization.kinds import ESTIMATORS

pytestmark = pytest.mark.gpu

TOLERANCES = {"fp32": 1e-4, "bf16": 5e-2}
"""Relative to the largest value."""


def trained_network(estimator: str) -> nn.Module:
    """Return a network of two Stein layers that has seen some batches."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.BatchNorm2d(16),
        nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 5),
    )  # fmt: skip
    converted, _ = convert_batchnorm(network, estimator)
    for seed in range(3):
        converted(samples((3, 16, 16), 16, seed))
    return converted.eval()


def outputs_and_gradients(network: nn.Module, inputs: Tensor, stats: str, precision: str) -> list[Tensor]:
    with batchnorm_stats(network, stats):
        model = Preprocessed(network, [0.5], [0.25], precision).to(inputs.device).eval()
        inputs = inputs.clone().requires_grad_()
        logits = model(inputs)
        (gradient,) = torch.autograd.grad(logits.square().sum(), inputs)
    return [logits.detach().cpu(), gradient.cpu()]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("stats", ["running", "batch"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_networks_compute_what_they_compute_on_the_cpu(
    estimator: str, stats: str, precision: str, channels_last: bool
) -> None:
    network, inputs = trained_network(estimator), samples((3, 16, 16), 12)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    inputs = inputs.contiguous(memory_format=layout)
    here = outputs_and_gradients(network, inputs, stats, precision)
    there = outputs_and_gradients(on_cuda(network).to(memory_format=layout), inputs.to(CUDA), stats, precision)
    for mine, other in zip(here, there, strict=True):
        if precision == "fp32":
            assert (mine - other).abs().max() <= TOLERANCES[precision] * mine.abs().max()
        else:  # a value near a ReLU's kink may fall on its other side
            assert (mine - other).norm() <= TOLERANCES[precision] * mine.norm()


@pytest.fixture
def alone_in_nccl() -> Iterator[None]:
    """Be the only process of a group with NCCL."""
    if not (dist.is_available() and dist.is_nccl_available()):
        pytest.skip("torch was built without NCCL")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dist.init_process_group("nccl", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("pooled", [False, True])
def test_synchronized_layers_in_a_world_of_one_are_ordinary_ones(
    pooled: bool, alone_in_nccl: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone a layer does not synchronize; `pooled` makes it sum over the group, of which it is the only member."""
    if pooled:
        monkeypatch.setattr(layers_module, "group_to_synchronize", lambda _: dist.group.WORLD)
    results = []
    for kind in (SteinBatchNorm2d, SteinSyncBatchNorm):
        layer = kind(6, estimator="stein").to(CUDA)
        x = samples((6, 5, 4), 10).to(CUDA).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        results.append([y.detach(), x.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()])
    for ordinary, synchronized in zip(*results, strict=True):
        torch.testing.assert_close(synchronized, ordinary, rtol=1e-4, atol=1e-4)
