"""Builds the network of a plan with random weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng
from stein_bench.normalization.layers import stein_layers
from stein_bench.preparation.plan import Plan, decide_task, trial_outputs
from stein_bench.preparation.precision import in_float32, precision_note


def build_untrained(plan: Plan) -> nn.Module:
    """Build the network with random weights that depend only on the run's seed, in float32.

    Raises:
        UsageError: it already has Stein layers, so that a report would misstate its BN.
    """
    return _build(plan)[0]


def with_untrained(plan: Plan) -> tuple[Plan, nn.Module]:
    """Return `plan` with what its untrained network shows, its task (see `decide_task`) and notes, and that network.

    Raises:
        UsageError: see `build_untrained` and `decide_task`.
    """
    network, dtypes = _build(plan)
    return decide_task(replace(plan, notes=(*plan.notes, *precision_note(dtypes))), network), network


def _build(plan: Plan) -> tuple[nn.Module, tuple[str, ...]]:
    with forked_rng(plan.config.seed):
        network = plan.source.build(num_classes=plan.num_classes, in_channels=plan.samples.shape[0])
        dtypes = in_float32(network)
        if any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
            # Lazy layers draw their weights at the first input.
            trial_outputs(network.eval(), plan, torch.device("cpu"))
    if next(stein_layers(network), None) is not None:
        raise UsageError(
            f"{plan.source.name} already has Stein layers, so its results would be reported under another BN's name: "
            "let it return plain BN layers and name the estimator with --bn."
        )
    return network, dtypes
