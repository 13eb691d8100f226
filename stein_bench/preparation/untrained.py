"""Builds the network of a plan with random weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from stein_bench.errors import UsageError
from stein_bench.guard import forked_rng
from stein_bench.models.callables import UserModel
from stein_bench.models.weights_state import first_of
from stein_bench.normalization.layers import stein_layers
from stein_bench.preparation.own_bn import own_bn
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
        UsageError: see `build_untrained` and `decide_task`; or a user's callable loads only some of its weights.
    """
    network, dtypes = _build(plan)
    notes = (*plan.notes, *precision_note(dtypes), *_note_on_random_weights(plan, network))
    return decide_task(replace(plan, notes=notes), network), network


def _note_on_random_weights(plan: Plan, network: nn.Module) -> tuple[str, ...]:
    """Return that a user's callable, which is to load weights, leaves some random: those that follow the seed.

    Libraries do so, without a word, to a classifier of another number of classes than that of their weights.

    Raises:
        UsageError: so it is, and ``--weights none`` was not given.
    """
    if plan.weights_kind != "own" or not isinstance(plan.source, UserModel):
        return ()
    state, other = network.state_dict(), _build(plan, plan.config.seed + 1)[0].state_dict()
    random = [name for name, tensor in state.items() if not torch.equal(tensor, other.get(name, tensor))]
    if not random:
        return ()
    what = f"{len(random)} of {len(state)} tensors are random, not loaded: {first_of(random)}"
    if plan.config.weights != "none":
        raise UsageError(
            f"{plan.source.spec} comes with weights, but {what}; they may be for another number of classes than "
            f"{len(plan.data.classes)}. Use --weights fit to train it further, a file of weights, or --weights none."
        )
    return (what,)


def _build(plan: Plan, seed: int | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    with forked_rng(plan.config.seed if seed is None else seed):
        network = plan.source.build(num_classes=plan.num_classes, in_channels=plan.samples.shape[0])
        dtypes = in_float32(network)
        if any(tensor.is_meta for tensor in chain(network.parameters(), network.buffers())):
            raise UsageError(
                f"{plan.source.name} has tensors on the meta device, which have no values: build it on the CPU, with "
                "its weights."
            )
        if any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
            # Lazy layers draw their weights at the first input.
            trial_outputs(network.eval(), plan, torch.device("cpu"))
    known = plan.weights is None and own_bn(plan.source) is not None
    if not known and next(stein_layers(network), None) is not None:
        raise UsageError(
            f"{plan.source.name} already has Stein layers, so its results would be reported under another BN's name: "
            "let it return plain BN layers and name the estimator with --bn."
        )
    return network, dtypes
