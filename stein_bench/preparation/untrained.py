"""Builds the network of a plan with random weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng
from stein_bench.normalization.layers import stein_layers
from stein_bench.preparation.plan import Plan, trial_outputs


def build_untrained(plan: Plan) -> nn.Module:
    """Build the network with random weights that depend only on the run's seed.

    Raises:
        UsageError: it already has Stein layers, so that a report would misstate its BN.
    """
    with forked_rng(plan.config.seed):
        network = plan.source.build(num_classes=plan.num_classes, in_channels=plan.samples.shape[0])
        if any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
            # Lazy layers draw their weights at the first input.
            trial_outputs(network.eval(), plan, torch.device("cpu"))
    if next(stein_layers(network), None) is not None:
        raise UsageError(
            f"{plan.source.name} already has Stein layers, so its results would be reported under another BN's name: "
            "let it return plain BN layers and name the estimator with --bn."
        )
    return network
