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


def flags(
    model: nn.Module, norm: str = "Linf", eps: float = EPS, samples: int = 40, draws: int | None = None
) -> dict[str, str]:
    """Return what the checks of a model say, without those that pass."""
    inputs, labels = digits("test", samples)
    probe = Probe(inputs, labels, list(range(samples)), Classification(), 10, norm, eps, False, draws)
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
        (zoo.ClampedPixels, "input-gradients"),
        (zoo.PositivePixels, "input-gradients"),
        (zoo.NanGradients, "input-gradients"),
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


@pytest.mark.parametrize("eps", [1 / 255, 2 / 255, 4 / 255])
def test_a_ripple_is_noticed_where_a_short_step_stays_on_one_of_its_slopes(eps):
    assert flags(weighted(zoo.SawtoothPixels), eps=eps, samples=24)["gradient-matches-loss"] == "fail"


@pytest.mark.parametrize("seeded", [True, False])
def test_only_same_random_numbers_are_compared(seeded):
    """Randomness is the business of `repeatable`, and its gradient that of the function with these numbers."""
    own = torch.Generator()

    class Noisy(zoo.Trained):
        def images(self, x):
            return x + 0.3 * torch.randn(x.shape, generator=None if seeded else own)

    found = flags(weighted(Noisy), samples=24, eps=0.02, draws=10)
    assert found == {"repeatable": "warn"} | ({} if seeded else {"same-without-gradients": "warn"})


@pytest.mark.integration
def test_few_flips_by_chance_do_not_make_a_random_network_depend_on_its_batch():
    class Noisy(zoo.Trained):
        def images(self, x):
            return x + 1.2 * torch.randn_like(x)

    class OfItsBatch(Noisy):
        def forward(self, x):
            return super().forward(x) + (0.0 if len(x) == 60 else 40.0) * torch.eye(10)[0]

    for samples, draws in ((12, 1), (16, 10), (24, 3)):
        assert "same-in-another-batch" not in flags(weighted(Noisy), samples=samples, draws=draws)
    assert flags(weighted(OfItsBatch), samples=60, draws=3)["same-in-another-batch"] == "fail"
