"""Agreement with the implementation published with arXiv 2507.08261, where its clamp is not active."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stein_bench.normalization.layers import SteinBatchNorm2d, SteinBatchNorm3d

REFERENCE = np.load(Path(__file__).parent / "published_batchnorm.npz")
RESULTS = sorted(key.removesuffix("/y") for key in REFERENCE.files if key.endswith("/y"))


def reference(key: str) -> torch.Tensor:
    return torch.from_numpy(REFERENCE[key])


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.detach() - expected).norm() / expected.norm())


@pytest.mark.parametrize("result", RESULTS)
def test_values_and_input_gradients_are_the_published_ones(result):
    case, _, estimator = result.partition("/")
    x = reference(f"{case}/x").requires_grad_()
    layer_class = SteinBatchNorm3d if x.dim() == 5 else SteinBatchNorm2d
    layer = layer_class(x.shape[1], estimator=estimator.replace("/", ":"), dtype=torch.float64)
    layer.weight.data.copy_(reference(f"{case}/weight"))
    layer.bias.data.copy_(reference(f"{case}/bias"))

    y = layer(x)
    y.backward(reference(f"{case}/grad_output"))

    assert relative_error(y, reference(f"{result}/y")) < 1e-6
    assert relative_error(x.grad, reference(f"{result}/grad_input")) < 1e-6


def test_the_reference_covers_every_case_and_estimator():
    assert len(RESULTS) == 5 * (2 + 2 * 2)
