"""The sanity checks flag every defense that hides the gradient, and no sound network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stein_bench.diagnostics.probe import Probe
from stein_bench.diagnostics.probes import diagnose
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.tasks import Classification
from tests.defences import zoo
from tests.defences.table import config, flagged, run_evaluation
from tests.defences.truth import EPS
from tests.defences.weights import digits, weighted

NOT_MASKED = (zoo.MedianPixels,)
"""Defenses whose own gradient serves an attack nearly as well as any other."""


def flags(model: nn.Module, norm: str = "Linf", eps: float = EPS, samples: int = 40) -> dict[str, str]:
    """Return what the checks of a model say, without those that pass."""
    inputs, labels = digits("test", samples)
    probe = Probe(inputs, labels, list(range(samples)), Classification(), 10, norm, eps, batch_dependent=False)
    found = diagnose("sample/running", Preprocessed(model, [0.0], [1.0]).eval(), probe)
    return {check.name: check.status for check in found if check.status != "pass"}


@pytest.mark.parametrize(("norm", "eps"), [("Linf", EPS), ("L2", 1.5)])
@pytest.mark.parametrize("network", zoo.SOUND)
def test_nothing_is_said_of_undefended_networks(network, norm, eps):
    assert flags(weighted(network), norm, eps) == {}


@pytest.mark.parametrize(
    ("network", "check"),
    [
        (zoo.SharpLogSoftmax, "input-gradients"),
        (zoo.TinyLogits, "input-gradients"),
        (zoo.RoundedPixels, "gradient-matches-loss"),
        (zoo.SawtoothPixels, "gradient-matches-loss"),
        (zoo.NegatedGradients, "gradient-matches-loss"),
        (zoo.NoiseIfTracked, "same-without-gradients"),
        (zoo.WrongIfEnabled, "same-without-gradients"),
    ],
)
def test_each_check_fires_on_what_it_is_for(network, check):
    assert flags(weighted(network), samples=24)[check] == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("eps", [EPS, 8 / 255])
@pytest.mark.parametrize("network", [network for network in zoo.DEFENCES if network not in NOT_MASKED])
def test_every_masked_gradient_is_flagged(network, eps):
    assert flagged(run_evaluation(config(network.__name__, "pgd", samples=60, eps=(eps,)))) != {}


def test_a_random_network_has_the_same_outputs_with_gradients_and_one_that_cannot_be_seeded_is_left_alone():
    """Its randomness is the business of `repeatable`."""
    own = torch.Generator()

    class Unseeded(zoo.Trained):
        def images(self, x):
            return x + 0.1 * torch.randn(x.shape, generator=own)

    assert "same-without-gradients" not in flags(weighted(zoo.RandomNoise), samples=12)
    assert flags(weighted(Unseeded), samples=12)["same-without-gradients"] == "warn"
