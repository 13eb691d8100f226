"""Turns a configuration into a plan, with everything checked before anything is trained or attacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stein_bench.attacks.adaptive_choice import with_adaptive_attacks
from stein_bench.attacks.attack import Attack, resolve_attacks
from stein_bench.attacks.batteries import find_battery
from stein_bench.attacks.corruption_specs import corruption_specs
from stein_bench.attacks.refill import OPEN_BATCHES
from stein_bench.attacks.suitability import check_attacks, check_tasks
from stein_bench.config import RunConfig
from stein_bench.data import open_data
from stein_bench.data.samples import Resize, Samples, Workers
from stein_bench.data.sources import DataSource
from stein_bench.distributed import own_device
from stein_bench.errors import OutOfMemoryRunError, UsageError
from stein_bench.measures.common import Baseline
from stein_bench.memory import ran_out
from stein_bench.models.interface import Scaling, TakesNotes, own_weights
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.models.probabilities import BehindProbabilities, Probabilities, recognized
from stein_bench.models.sources import ModelSource, find_model
from stein_bench.models.weights import Weights
from stein_bench.normalization.convert import has_batchnorm
from stein_bench.normalization.names import own_sha256
from stein_bench.normalization.survey import all_frozen, check_compensable, survey
from stein_bench.preparation.advice import advice
from stein_bench.preparation.batch_size import attack_bytes, fitting_batch_size
from stein_bench.preparation.corrupted import find_baselines, with_sources
from stein_bench.preparation.existing_weights import existing_weights, under_own_names
from stein_bench.preparation.inputs import WeightsKind, decide_resize, decide_scaling
from stein_bench.preparation.labels import checked_outputs
from stein_bench.preparation.metrics import OwnMetric, find_metrics, try_metrics
from stein_bench.preparation.programs import check_program, check_program_options
from stein_bench.preparation.variants import Variant, choose_variants
from stein_bench.preparation.weights_kind import decide_classes, weights_kind
from stein_bench.report.document import AttackNetworkInfo
from stein_bench.tasks import TASKS, Task, is_single_logit


@dataclass(frozen=True)
class Plan:
    """Everything a run needs, checked.

    Attributes:
        config: the configuration of the plan.
        data, samples: the data set, and the samples to evaluate as the model receives them.
        source: builds the network, with `num_classes` outputs (None: the model's own number).
        weights_kind, weights: the kind of weights, and the weights if they come from a weights file.
        scaling: input scaling.
        variants: in command-line order, controls last.
        attacks: those of the battery first, then in command-line order.
        task, device: the task, which defines loss and success, and the device of the run.
        attack_network: how the network that attacks use differs from the evaluated one; None if it is the same.
        probabilities: how the outputs of the network are probabilities; None if they are logits.
        metrics: those that the user brings.
        notes: what the report says about the network and the surrogate besides what source and weights say.
        baselines: what the mean corruption error of each variant is relative to, by label; empty without a baseline.
        training, training_notes: what the built-in training uses, once it is read, and what the report says about it.
    """

    config: RunConfig
    data: DataSource
    samples: Samples
    source: ModelSource
    num_classes: int | None
    weights_kind: WeightsKind
    weights: Weights | None
    resize: Resize | None
    scaling: Scaling
    variants: tuple[Variant, ...]
    attacks: tuple[Attack, ...]
    task: Task
    device: torch.device
    attack_network: AttackNetworkInfo | None = None
    probabilities: Probabilities | None = None
    notes: tuple[str, ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    metrics: tuple[OwnMetric, ...] = ()
    training: Samples | None = None
    training_notes: tuple[str, ...] = ()

    @property
    def refill(self) -> bool:
        """Whether attacks put samples of later batches in the places of finished ones; as configured, else on CUDA."""
        return self.device.type == "cuda" if self.config.refill is None else self.config.refill

    @property
    def workers(self) -> Workers:
        """How many processes read samples ahead. With ``auto`` none where the CPU, which they would share, computes."""
        return 0 if self.config.workers == "auto" and self.device.type == "cpu" else self.config.workers

    def model_notes(self) -> tuple[str, ...]:
        """Return what is to be said about the model and the reading of its weights."""
        about_model = self.source.notes if isinstance(self.source, TakesNotes) else ()
        own = own_weights(self.source)
        if own is not None and self.weights_kind in ("own", "fit"):
            further = "trained further from " if self.weights_kind == "fit" else ""
            about_model = (*about_model, f"weights: {further}{own}")
        return (*about_model, *self.notes, *(self.weights.notes if self.weights is not None else ()))

    def data_notes(self) -> tuple[str, ...]:
        """Return what is to be said about the samples, and about those of the built-in training."""
        return (*self.samples.notes(), *self.training_notes)

    def training_samples(self) -> Samples:
        """Return the training split as the model receives it, unread."""
        return self.data.samples("train", self.resize)

    def batch_size(self, network: nn.Module) -> int:
        """Return the number of samples per batch: as configured, or what fits into memory for ``auto``."""
        if self.config.batch_size == "auto":
            kept = attack_bytes(
                self.samples.shape,
                queries=max((int(attack.params.get("queries", 0)) for attack in self.attacks), default=0),
                open_batches=OPEN_BATCHES if self.refill else 0,
            )
            return fitting_batch_size(self.wrap(network), self.samples.shape, self.device, len(self.samples), kept)
        return self.config.batch_size

    @property
    def largest_batch(self) -> int:
        """The number of samples in the largest batch; 1 if that is still to be measured."""
        return 1 if self.config.batch_size == "auto" else min(self.config.batch_size, len(self.samples))

    def wrap(self, network: nn.Module, precision: str | None = None) -> Preprocessed:
        """Return `network` behind its input scaling, in eval mode on the run's device, at the run's precision."""
        scaled = Preprocessed(
            network, self.scaling.mean, self.scaling.std, precision or self.config.precision,
            single_probability=self.probabilities is not None and self.task.name == "binary",
            dense=self.task.name == "segmentation",
        )  # fmt: skip
        return scaled.to(self.device).eval()

    def wrap_for_training(self, network: nn.Module, precision: str | None = None) -> nn.Module:
        """Return what `wrap` does, with logits for outputs: the cross-entropy of probabilities is another loss."""
        model = self.wrap(network, precision)
        if self.probabilities is None:
            return model
        return BehindProbabilities(model, replace(self.probabilities, in_float64=False))


def prepare(config: RunConfig) -> Plan:
    """Find and check everything that `config` names, without training or attacking.

    Raises:
        UsageError: something is unknown, missing or does not fit together.
    """
    attacks, device, weights, data = _without_model(config)
    source = find_model(config.model)
    check_program_options(config, source)
    kind = weights_kind(config, data, source)
    resize = decide_resize(config, data, source, kind, weights)
    samples = data.samples("test", resize).first(config.limit)
    if weights is not None:
        weights = under_own_names(weights, source, len(data.classes), samples.shape[0], config.seed)
    attacks, samples = with_sources(attacks, data, samples, resize)
    variants = choose_variants(config, weights, source)
    scaling = decide_scaling(config, source, weights, samples.shape[0])
    num_classes = decide_classes(data, source, kind, weights)
    notes = _about_estimators(weights, variants)
    if config.preserve_function:
        _check_preserving(kind in ("pretrained", "own"), weights, variants)
    return Plan(
        config, data, samples, source, num_classes, kind, weights, resize, scaling, variants, attacks,
        TASKS[data.task], device, notes=notes, metrics=find_metrics(config.metric),
        baselines=find_baselines(config.mce_baseline, variants, attacks, samples, config.seed),
    )  # fmt: skip


def _about_estimators(weights: Weights | None, variants: Sequence[Variant]) -> tuple[str, ...]:
    """Return that an estimator which somebody brings has changed since the weights were trained with it."""
    card = None if weights is None else weights.card
    if card is None or card.estimator_sha256 is None:
        return ()
    changed = [v.shown for v in variants if own_sha256(v.bn) not in (None, card.estimator_sha256)]
    return tuple(
        f"{bn} has been edited since these weights were trained with it; they are evaluated with what it is now"
        for bn in dict.fromkeys(changed)
    )


def check_without_model(config: RunConfig) -> None:
    """Check what is right or wrong whatever the model is: attacks, device, weights file, data, BN, surrogate's name.

    Raises:
        UsageError: something is unknown, missing or does not fit together.
    """
    _, _, weights, _ = _without_model(config)
    choose_variants(config, weights)
    find_metrics(config.metric)
    if config.surrogate is not None:
        find_model(config.surrogate)


def _without_model(config: RunConfig) -> tuple[tuple[Attack, ...], torch.device, Weights | None, DataSource]:
    battery = () if config.battery is None else find_battery(config.battery, trust_code=config.trust_code).attacks
    attacks = planned_attacks(config, battery)
    device = _device(config.device)
    _check_attack_precision(config, device)
    weights = existing_weights(config.weights, config.weights_key)
    data = open_data(config.data)
    check_tasks(attacks, data.task)
    return attacks, device, weights, data


def planned_attacks(config: RunConfig, battery: Sequence[str]) -> tuple[Attack, ...]:
    """Return the attacks of a battery (its specs) and all others that `config` asks for.

    Raises:
        UsageError: one is unknown or wrong, or they do not fit together.
    """
    asked = [*config.attack, *corruption_specs(config.corruption)]
    attacks = resolve_attacks(asked, config.eps, battery=battery, norm=config.norm)
    return with_adaptive_attacks(attacks) if config.adaptive else attacks


def decide_task(plan: Plan, network: nn.Module) -> Plan:
    """Return `plan` with its task and the kind of outputs adapted to its untrained `network`.

    Two classes with a single output are the task ``binary``. Outputs may be probabilities instead of logits.

    Raises:
        UsageError: the network rejects the inputs.
    """
    plan = replace(plan, probabilities=None)
    check_program(plan.source, plan.wrap(network, "fp32"), plan.samples.shape, plan.largest_batch)
    model = plan.wrap(network)
    outputs = trial_outputs(model, plan, plan.device)
    if plan.task.name == "classification" and len(plan.data.classes) == 2 and is_single_logit(outputs):
        plan = replace(plan, task=TASKS["binary"])
    noise = torch.rand(2, *plan.samples.shape, generator=torch.Generator().manual_seed(0))
    return replace(plan, probabilities=recognized(model, noise.to(plan.device)))


def check_model(plan: Plan, network: nn.Module) -> int:
    """Try an untrained `network` on two all-zero inputs and return its number of outputs.

    Raises:
        UsageError: it rejects the inputs, its outputs do not fit the labels, an attack does not fit the model, or a
            variant needs BN and there is none.
    """
    if any(v.bn != "sample" or v.stats != "running" for v in plan.variants) and not has_batchnorm(network):
        changed = next(v for v in plan.variants if v.bn != "sample" or v.stats != "running")
        raise UsageError(
            f"{plan.source.name} has no BatchNorm layer that could be converted{all_frozen(network)}, "
            f"so --bn {changed.bn} --stats {changed.stats} would change nothing."
        )
    if plan.config.preserve_function:
        check_compensable(network, [layer for _, layer in survey(network)[0]])
    _check_statistics(plan, network)
    logits = trial_outputs(plan.wrap(network), plan, plan.device)
    outputs = checked_outputs(plan.task, logits, plan.data, plan.samples)
    if plan.samples.maps is not None and logits.shape[2:] != plan.samples.shape[1:]:
        raise UsageError(
            f"{plan.source.name} returns maps of {_size(logits.shape[2:])} for images of "
            f"{_size(plan.samples.shape[1:])}: a score is needed for every pixel; upsample them in the model."
        )
    if plan.weights_kind == "fit":
        check_parameters(plan, network)
        check_training_labels(plan, plan.training_samples(), outputs)
    check_attacks(plan.attacks, network, outputs, len(plan.samples.shape))
    if plan.metrics:
        two = [0, min(1, len(plan.samples) - 1)]  # as many as `trial_outputs` has
        try_metrics(plan.metrics, logits, plan.samples.batch(two)[1].to(logits.device))
    return outputs


def _check_statistics(plan: Plan, network: nn.Module) -> None:
    """Refuse running statistics if a BN layer of the network has none: it would use those of the batch."""
    if all(variant.stats == "batch" for variant in plan.variants):
        return
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is None:
            raise UsageError(
                f"{plan.source.name}: BN layer {name or type(layer).__name__!r} keeps no running statistics "
                "(track_running_stats=False) and always uses those of the batch: evaluate it with --stats batch."
            )


def check_parameters(plan: Plan, network: nn.Module) -> None:
    """Raise a `UsageError` if the network has no parameters, so that there is nothing to train."""
    if next(network.parameters(), None) is None:
        raise UsageError(f"{plan.source.name} has no parameters, so it cannot be trained.")


def check_training_labels(plan: Plan, samples: Samples, outputs: int) -> None:
    """Raise a `UsageError` unless all labels of the training `samples` are among a model's `outputs`."""
    largest = samples.largest_label
    if largest >= outputs:
        raise UsageError(
            f"the training split of {plan.data.name} has labels up to {largest}, but {plan.source.name} has only "
            f"{outputs} outputs."
        )


@torch.no_grad()
def trial_outputs(model: nn.Module, plan: Plan, device: torch.device) -> Tensor:
    """Return the outputs of `model` for two all-zero inputs with the samples' shape.

    Raises:
        UsageError: the model rejects them.
        OutOfMemoryRunError: they do not fit into memory.
    """
    shape = plan.samples.shape
    try:
        outputs: Tensor = model(torch.zeros(2, *shape, device=device))
    except UsageError:
        raise
    except Exception as error:
        size = "×".join(map(str, shape))
        if ran_out(error):
            raise OutOfMemoryRunError(
                f"{plan.source.name} runs out of memory on two inputs of shape {size}: choose a smaller --image-size."
            ) from error
        reason = " ".join(str(error).split())[:200].rstrip(".")
        hint = advice(str(error), shape)
        raise UsageError(f"{plan.source.name} rejects inputs of shape {size}: {reason}.{hint}") from error
    return outputs


def _size(sides: Sequence[int]) -> str:
    """Return the size of an image as text, height first."""
    return "×".join(map(str, sides))


def _device(name: str) -> torch.device:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return own_device(torch.device(next(device for device in ("cuda", "mps", "cpu") if available[device])))
    if not available[name]:
        usable = ", ".join(device for device, there in available.items() if there)
        raise UsageError(f"--device {name} is not available here. Available: {usable}.")
    return own_device(torch.device(name))


def _check_attack_precision(config: RunConfig, device: torch.device) -> None:
    if config.attack_precision == "tf32" and device.type != "cuda":
        raise UsageError(
            f"--attack-precision tf32 has no effect on {device.type}: TF32 exists on CUDA devices only. Leave it out."
        )


def _check_preserving(trained: bool, weights: Weights | None, variants: Sequence[Variant]) -> None:
    plain = trained or (weights is not None and weights.trained_with == "sample")
    if not plain or all(variant.bn == "sample" for variant in variants):
        raise UsageError(
            "--preserve-function is for trained plain-BN weights that are converted: give --bn NAME with "
            "--weights pretrained or a file of such weights."
        )
