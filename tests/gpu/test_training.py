"""Training on a CUDA device: as on the CPU up to rounding, and twice the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stein_bench.attacks.attack import resolve_attack
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.training.loop import Adversary
from tests.gpu.twins import CUDA
from tests.training.small import CPU, parts, recipe, stripes, training

pytestmark = pytest.mark.gpu


def trained(
    device: torch.device, bn: str, *, adversarial: bool = False, compiled: bool = False
) -> dict[str, torch.Tensor]:
    """Train a small network without dropout, whose numbers every device draws for itself, and return its state."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 3)
    )
    if bn != "sample":
        convert_batchnorm(model, bn)
    adversary = Adversary(resolve_attack("pgd:eps=8/255,steps=2"), 3) if adversarial else None
    made = training(
        recipe(epochs=1, learning_rate=0.02), model=model, data=parts(stripes(), validated=41), device=device,
        adversary=adversary, compile=compiled,
    )  # fmt: skip
    made.run()
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("bn", "adversarial"), [("sample", False), ("stein", False), ("james-stein", True)])
def test_training_is_that_of_the_cpu_and_repeats_itself(bn: str, adversarial: bool) -> None:
    first, second, expected = (trained(device, bn, adversarial=adversarial) for device in (CUDA, CUDA, CPU))
    for name, tensor in expected.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=2e-3, atol=2e-3)


def test_compiled_training_is_that_of_the_cpu() -> None:
    compiled, expected = trained(CUDA, "stein", compiled=True), trained(CPU, "stein")
    for name, tensor in expected.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=2e-3, atol=2e-3)
