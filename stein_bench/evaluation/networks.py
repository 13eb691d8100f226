"""From a plan to networks with weights: built, converted, loaded, or trained and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from stein_bench.data.samples import Samples
from stein_bench.distributed import alone, from_main, is_main, world_size
from stein_bench.errors import OutOfMemoryRunError, RunError
from stein_bench.evaluation.fitted import FittedNetworks
from stein_bench.guard import forked_rng
from stein_bench.memory import ran_out
from stein_bench.models.weights import WeightsCard, load_weights, state_sha256
from stein_bench.normalization.convert import ConversionSummary, convert_batchnorm
from stein_bench.normalization.names import estimator_identity, own_sha256, shown_estimator
from stein_bench.preparation.own_bn import own_bn
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.precision import in_float32
from stein_bench.preparation.training_split import with_training_split
from stein_bench.preparation.untrained import build_untrained
from stein_bench.progress import Progress
from stein_bench.report.provenance import package_versions
from stein_bench.training.fit import failure, fit, fit_recipe
from stein_bench.training.recipes import Recipe

Conversion = Literal["before-training", "after-training", "none"]


@dataclass(frozen=True)
class Built:
    """A network with its weights, for one BN estimator.

    Attributes:
        network: the network without input scaling.
        conversion: whether BN was converted before or after training.
        summary: what was converted; None if no conversion was requested.
        sha256: hash of its weights and buffers.
        function_preserved: whether γ and β have absorbed the change of statistics, so that under running statistics the
            network computes the same function as before.
    """

    network: nn.Module
    conversion: Conversion
    summary: ConversionSummary | None
    sha256: str
    function_preserved: bool = False


class NotFittedError(Exception):
    """A network is not in the cache and was not to be trained."""


def build_network(plan: Plan, bn: str, progress: Progress, *, fitting: bool = True) -> Built:
    """Build the network with BN estimator `bn` and its weights, training it if the plan says ``fit``.

    The statistics source is left at ``running``; `batchnorm_stats` sets it for a variant.

    Raises:
        NotFittedError: it would have to be trained, and is not to be (`fitting`).
    """
    # None: weights of Stein layers without a card, evaluated with the single estimator that the user names
    trained_with = None if plan.weights is None else plan.weights.trained_with
    trained_with_bn = trained_with is None or shown_estimator(trained_with) == shown_estimator(bn)
    if plan.weights_kind == "pretrained":
        with forked_rng(plan.config.seed):
            network = plan.source.build(
                num_classes=None, in_channels=plan.samples.shape[0], pretrained=True
            )  # fmt: skip
        in_float32(network)
        return _converted_after(network, bn, plan.config.preserve_function)
    network = build_untrained(plan)
    if plan.weights_kind == "fit":
        return _converted_before(network, bn, partial(_fit_or_load_once, plan, bn, progress, fitting=fitting))
    if plan.weights_kind == "own" and own_bn(plan.source) == bn:
        return _converted_before(network, bn, lambda _: None)
    if plan.weights_kind == "own":
        return _converted_after(network, bn, plan.config.preserve_function)
    if plan.weights is None:
        return _converted_before(network, bn, lambda _: None)
    load = partial(load_weights, weights=plan.weights)
    if trained_with_bn:
        return _converted_before(network, bn, load)
    load(network)
    return _converted_after(network, bn, plan.config.preserve_function)


def _converted_before(network: nn.Module, bn: str, then: Callable[[nn.Module], None]) -> Built:
    """Convert BN unless it stays plain, then train or load weights with it (`then`), and describe the result."""
    if bn == "sample":
        then(network)
        return Built(network.eval(), "none", None, state_sha256(network))
    convert_batchnorm(network, bn)
    then(network)
    # Again, for the summary: layers have a count only after training or loading. Nothing else changes.
    network, summary = convert_batchnorm(network, bn)
    return Built(network.eval(), "before-training", summary, state_sha256(network))


def _converted_after(network: nn.Module, bn: str, preserve_function: bool) -> Built:
    """Convert the BN of a trained network unless it stays plain, and describe the result."""
    if bn == "sample":
        return Built(network.eval(), "none", None, state_sha256(network))
    network, summary = convert_batchnorm(network, bn, preserve_function=preserve_function)
    return Built(network.eval(), "after-training", summary, state_sha256(network), preserve_function)


def _fit_or_load_once(plan: Plan, bn: str, progress: Progress, network: nn.Module, *, fitting: bool) -> None:
    """Let the first process train or load `network` alone, and give its weights to the others."""
    if world_size() == 1:
        _fit_or_load(plan, bn, progress, network, fitting=fitting)
        return
    state: dict[str, Tensor] | None = None
    if is_main():
        with alone(), suppress(NotFittedError):
            _fit_or_load(plan, bn, progress, network, fitting=fitting)
            state = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    state = from_main(state)
    if state is None:
        raise NotFittedError
    network.load_state_dict(state)


def _fit_or_load(plan: Plan, bn: str, progress: Progress, network: nn.Module, *, fitting: bool) -> None:
    """Train `network` with the built-in recipe, or load the result of an identical training run from the cache."""
    recipe = fit_recipe()
    samples = with_training_split(plan, progress).training
    assert samples is not None
    fits = FittedNetworks(_cache_key(plan, bn, recipe, samples.sha256(), network))
    if not fits.load(network):
        if not fitting:
            raise NotFittedError
        with fits.own_turn(progress):
            if not fits.load(network):  # now: another process may have trained it meanwhile
                fits.set_damaged_aside(progress)
                fits.keep(network, _fitted(plan, bn, recipe, samples, progress, network), progress)
                return
    progress.note(f"fit {bn}: found in the cache")


def _fitted(
    plan: Plan, bn: str, recipe: Recipe, samples: Samples, progress: Progress, network: nn.Module
) -> WeightsCard:
    """Train `network` and return the card of its weights."""
    model = plan.wrap_for_training(network, precision="fp32")  # the requested precision applies to the evaluation
    try:
        fit(
            model, samples, plan.task,
            recipe=recipe, seed=plan.config.seed, device=plan.device, progress=progress, title=f"fit {bn}",
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:  # torch's errors, including out of memory
        if ran_out(error):
            raise OutOfMemoryRunError(
                f"training {plan.source.name} ran out of memory; its batches are those of the recipe, whatever "
                "--batch-size says: train it elsewhere, and give --weights FILE."
            ) from error
        raise RunError(f"training {plan.source.name} failed: {failure(error)}") from error
    return WeightsCard(
        model=plan.source.spec,
        bn=bn,
        num_classes=len(plan.data.classes),
        mean=plan.scaling.mean,
        std=plan.scaling.std,
        input_shape=samples.shape,
        data=plan.data.name,
        recipe=recipe.document(),
        seed=plan.config.seed,
        estimator_sha256=own_sha256(bn),
    )


def _cache_key(plan: Plan, bn: str, recipe: Recipe, data_sha256: str, network: nn.Module) -> str:
    """Hash everything that affects the result of a training run.

    For the architecture these are its source's fingerprint, its structure and its initial weights, so that an old
    network is never reused after an edit to a user's file or with another library version.
    """
    versions = package_versions()
    matters: dict[str, Any] = {
        "model": [plan.source.spec, plan.source.fingerprint(), str(network), state_sha256(network)],
        "bn": estimator_identity(bn),
        "data": data_sha256,
        "shape": plan.samples.shape,
        "scaling": [plan.scaling.mean, plan.scaling.std],
        "classes": len(plan.data.classes),
        "recipe": recipe.identity(),
        "seed": plan.config.seed,
        "device": plan.device.type,
        "versions": {name: versions[name] for name in ("stein-bench", "torch", "numpy")},
    }
    return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()
