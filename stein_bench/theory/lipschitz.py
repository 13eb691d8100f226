"""Local Lipschitz constants of normalization layers, on random batches and within a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn

from stein_bench.config import RunConfig
from stein_bench.errors import UsageError
from stein_bench.evaluation.networks import build_network
from stein_bench.guard import model_untouched
from stein_bench.normalization.convert import batchnorm_stats, convert_batchnorm
from stein_bench.normalization.estimators import estimator
from stein_bench.normalization.functional import batch_moments, elements_per_channel
from stein_bench.normalization.survey import all_frozen, survey
from stein_bench.offline import keeps_offline
from stein_bench.preparation.inputs import first_sound
from stein_bench.preparation.plan import Plan, check_model, prepare
from stein_bench.preparation.programs import refuse_program
from stein_bench.preparation.training_split import with_training_split
from stein_bench.preparation.untrained import with_untrained
from stein_bench.progress import Progress, Silent, phase
from stein_bench.seeds import derive_seed
from stein_bench.theory.jacobian import (
    PowerIteration,
    channel_slopes,
    normalization_map,
    plain_norm,
    reduced_norm,
    spectral_norm,
)
from stein_bench.theory.population import true_means, true_variances
from stein_bench.theory.settings import LipschitzSettings, Population

RANDOM_EPS = 1e-5


@dataclass(frozen=True)
class LayerConstant:
    """The local Lipschitz constant of one layer with one estimator.

    Attributes:
        bn: the estimator.
        starts: power iterations on JᵀJ, from different random vectors.
        reduced: the same constant by `reduced_norm`.
        closed_form: the same constant by `plain_norm` for plain BN, else None.
        slope: ``max_c |γ|/√(s'+ε)``, the constant if mean and variance did not depend on the elements.
    """

    bn: str
    starts: tuple[PowerIteration, ...]
    reduced: float
    closed_form: float | None
    slope: float

    @property
    def norm(self) -> float:
        """The largest norm over the starts."""
        return self._best.norm

    @property
    def converged(self) -> bool:
        """Whether the start with the largest norm has converged."""
        return self._best.converged

    @property
    def _best(self) -> PowerIteration:
        return max(self.starts, key=lambda start: start.norm)


@dataclass(frozen=True)
class Layer:
    """One layer with its batch.

    Attributes:
        name: its name in the network; None for a random batch.
        channels, elements: C, and N elements per channel.
        spread: of the true means of a random batch; None in a network.
        eps: the layer's ε.
        constants: by estimator, plain BN first.
    """

    name: str | None
    channels: int
    elements: int
    spread: float | None
    eps: float
    constants: tuple[LayerConstant, ...]


@dataclass(frozen=True)
class Network:
    """The network whose layers were analyzed: its spec, data, weights and the number of samples in the batch."""

    model: str
    source: str
    data: str
    weights_kind: str
    weights_sha256: str
    trained_with: str
    samples: int


def random_layers(settings: LipschitzSettings, *, progress: Progress | None = None) -> list[Layer]:
    """Return the constants of layers with γ = 1 and ε = 1e-5 on Gaussian batches, for all C, N and spreads."""
    progress = progress or Silent()
    cases = list(product(settings.channels, settings.elements, settings.spreads))
    layers = []
    with phase(progress, "lipschitz", len(cases)):
        for channels, elements, spread in cases:
            x = _gaussian_batch(channels, elements, Population(spread, 0.0, settings.variance_spread), settings.seed)
            constants = layer_constants(x, None, RANDOM_EPS, settings, f"{channels} {elements} {spread}")
            layers.append(Layer(None, channels, elements, spread, RANDOM_EPS, constants))
            progress.advance(1)
    return layers


def _gaussian_batch(channels: int, elements: int, population: Population, seed: int) -> Tensor:
    """Return a batch (N, C), float64, from the same draws for all spreads."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "lipschitz", channels, elements))
    draws = torch.randn(elements, channels, generator=generator, dtype=torch.float64)
    return true_means(channels, population) + draws * true_variances(channels, population).sqrt()


def layer_constants(
    x: Tensor, weight: Tensor | None, eps: float, settings: LipschitzSettings, label: str
) -> tuple[LayerConstant, ...]:
    """Return the constants at the batch `x` (n, C, ...) for every estimator of `settings`; `label` seeds the starts."""
    variance, count = batch_moments(x.double())[1], elements_per_channel(x)
    constants = []
    for bn in settings.bn:
        function = estimator(bn)
        starts = []
        for start in range(settings.starts):
            generator = torch.Generator().manual_seed(derive_seed(settings.seed, "start", label, start))
            starts.append(spectral_norm(normalization_map(weight, function, eps), x, generator))
        shrunk = function(batch_moments(x.double())[0], variance, count)[1]
        slope = float(channel_slopes(shrunk, weight, eps).abs().max())
        closed_form = plain_norm(variance, weight, eps, count) if bn == "sample" else None
        reduced = reduced_norm(x, weight, function, eps)
        constants.append(LayerConstant(bn, tuple(starts), reduced, closed_form, slope))
    return tuple(constants)


@keeps_offline
def network_layers(
    config: RunConfig, settings: LipschitzSettings, *, progress: Progress | None = None
) -> tuple[Network, list[Layer]]:
    """Return the constants of a network's BN layers, each at its input when one batch of data runs through the network.

    The network is the one that `stein-bench evaluate` would evaluate; it runs with the estimator it was trained with,
    under batch statistics. A layer with a built-in activation (timm has some) is analyzed without it; a layer that is
    used several times, at its first use.

    Raises:
        UsageError: the input is invalid, or there is no BN layer.
        RunError: training failed.
    """
    progress = progress or Silent()
    plan = prepare(config.model_copy(update={"bn": None}))
    refuse_program(plan.source, "whose BN layers cannot be told from its other code")
    plan, blank = with_untrained(plan)
    check_model(plan, blank)
    if not survey(blank)[0]:
        raise UsageError(f"--model {plan.source.name}: it has no BN layer{all_frozen(blank)}.")
    if plan.weights_kind == "fit":
        plan = with_training_split(plan, progress)
    samples = first_sound(plan.samples, plan.batch_size(blank), progress)
    for note in (*plan.model_notes(), *samples.notes(), *plan.training_notes):
        progress.note(note)
    trained_with = plan.variants[0].bn
    built = build_network(plan, trained_with, progress)
    images, _ = samples.batch(range(len(samples)))
    layers = list(_visit(plan, built.network, trained_with, images, settings, progress))
    kind = plan.weights_kind
    network = Network(
        plan.source.name, plan.source.spec, plan.data.name, kind, built.sha256, trained_with, len(samples)
    )
    return network, layers


def _visit(
    plan: Plan, network: nn.Module, trained_with: str, images: Tensor, settings: LipschitzSettings, progress: Progress
) -> Iterator[Layer]:
    convert_batchnorm(network, trained_with)
    names = survey(network)[0]
    found: dict[str, Layer] = {}

    def look(name: str, layer: nn.BatchNorm2d, x: Tensor) -> None:
        if name not in found and x.numel():
            constants = layer_constants(x, layer.weight, layer.eps, settings, name)
            found[name] = Layer(name, x.shape[1], elements_per_channel(x), None, layer.eps, constants)
            progress.advance(1)

    model = plan.wrap(network, precision="fp32")
    with (
        phase(progress, "lipschitz", len(names)),
        model_untouched(model),
        batchnorm_stats(network, "batch"),
        _inputs_shown(names, look),
        torch.no_grad(),
    ):
        model(images.to(plan.device))
    yield from (found[name] for name, _ in names if name in found)


@contextmanager
def _inputs_shown(
    layers: list[tuple[str, nn.Module]], look: Callable[[str, nn.BatchNorm2d, Tensor], None]
) -> Iterator[None]:
    """Call `look` with every layer's name, the layer and its input while the network runs in the body."""
    handles = []
    for name, layer in layers:

        def show(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            look(name, cast(nn.BatchNorm2d, module), inputs[0])

        handles.append(layer.register_forward_pre_hook(show))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
