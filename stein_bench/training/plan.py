"""Training plans: everything that a training run needs is resolved and checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from stein_bench.attacks.attack import Attack, resolve_attack
from stein_bench.data.samples import Samples
from stein_bench.errors import UsageError
from stein_bench.files import check_output_file
from stein_bench.guard import forked_rng
from stein_bench.models.interface import own_weights
from stein_bench.models.sources import find_model
from stein_bench.models.weights import load_weights, state_sha256
from stein_bench.normalization.convert import convert_batchnorm, has_batchnorm, restore_batchnorm
from stein_bench.normalization.names import parse_estimator
from stein_bench.normalization.survey import all_frozen, check_compensable, survey
from stein_bench.preparation.inputs import check_values
from stein_bench.preparation.keywords import WEIGHTS_KEYWORDS, check_weights_name
from stein_bench.preparation.plan import Plan, check_model, check_parameters, check_training_labels, prepare
from stein_bench.preparation.precision import in_float32
from stein_bench.preparation.programs import refuse_program
from stein_bench.preparation.untrained import build_untrained, with_untrained
from stein_bench.progress import Progress
from stein_bench.training.card import StartedFrom
from stein_bench.training.config import FROM_SCRATCH, TrainConfig
from stein_bench.training.loop import TrainingSet
from stein_bench.training.recipes import Recipe
from stein_bench.training.splits import split_indices

ADVERSARIES = ("pgd", "fgsm", "mifgsm")
"""Attacks available for adversarial training: they follow the gradient of the training loss."""
PRETRAINED = "pretrained"
STARTS = (FROM_SCRATCH, PRETRAINED)
"""What training starts from, apart from a file of weights."""


@dataclass(frozen=True)
class TrainingPlan:
    """Everything a training run needs, checked.

    Attributes:
        config: the configuration that it was made from.
        base: model, data, scaling and task, as in an evaluation.
        recipe: how to train.
        bn: canonical name of the BN to train with.
        attack: for adversarial training, otherwise None.
        data: the samples with their training and validation part.
        outputs: number of the model's outputs.
        device: of this process.
    """

    config: TrainConfig
    base: Plan
    recipe: Recipe
    bn: str
    attack: Attack | None
    data: TrainingSet
    outputs: int
    device: torch.device


def plan_training(config: TrainConfig) -> TrainingPlan:
    """Resolve and check everything that `config` names, without training.

    Raises:
        UsageError: something is unknown, missing or inconsistent.
    """
    check_output_file("--output", config.output)
    recipe = config.chosen_recipe()
    bn = str(parse_estimator(config.bn))
    attack = _adversary(config.adversarial)
    refuse_program(find_model(config.model), "which cannot be trained further")
    from_file = config.weights not in STARTS
    if config.weights in WEIGHTS_KEYWORDS and from_file:
        raise UsageError(f"--weights {config.weights}: training starts from {', '.join(STARTS)} or a file of weights.")
    check_weights_name(config.weights, STARTS)
    base = prepare(config.as_run_config(config.weights if from_file else "none"))
    if "train" not in base.data.splits:
        raise UsageError(f"{base.data.name} has no training split to train on, see `stein-bench list data`.")
    if config.weights == PRETRAINED and base.source.pretrained is None:
        raise UsageError(f"--weights pretrained: {base.source.name} has no pretrained weights.")
    base, network = with_untrained(base)
    check_parameters(base, network)
    outputs = check_model(base, network)
    _check_bn(base, network, bn, config)
    samples = base.training_samples().first(config.limit)
    check_training_labels(base, samples, outputs)
    if recipe.label_smoothing and base.data.task != "classification":
        raise UsageError(f"label-smoothing is for classification; {base.data.name} is {base.data.task} data.")
    return TrainingPlan(config, base, recipe, bn, attack, _parts(samples, recipe), outputs, base.device)


def with_sound_samples(plan: TrainingPlan, progress: Progress) -> TrainingPlan:
    """Read the samples once if need be, and return `plan` without those whose files are damaged.

    Raises:
        UsageError: a sample is out of range, or unreadable and not to be left out.
    """
    samples = check_values(plan.data.samples, progress)
    for note in samples.notes():
        progress.note(note)
    return plan if samples is plan.data.samples else replace(plan, data=_parts(samples, plan.recipe))


def _parts(samples: Samples, recipe: Recipe) -> TrainingSet:
    share, seed = recipe.validation_share, recipe.validation_seed
    if share and recipe.stratified and samples.maps is not None:
        raise UsageError("a stratified validation split needs one class per sample: set stratified to false.")
    labels = samples.labels if recipe.stratified else None
    return TrainingSet(samples, *split_indices(len(samples), share, seed, labels))


def _adversary(spec: str | None) -> Attack | None:
    if spec is None:
        return None
    attack = resolve_attack(spec)
    if attack.info.name not in ADVERSARIES:
        raise UsageError(f"--adversarial takes {', '.join(ADVERSARIES)} with their parameters, not {attack.info.name}.")
    return attack


def _check_bn(base: Plan, network: nn.Module, bn: str, config: TrainConfig) -> None:
    if bn != "sample" and not has_batchnorm(network):
        raise UsageError(
            f"{base.source.name} has no BatchNorm layer to convert{all_frozen(network)}, "
            f"so --bn {bn} would change nothing."
        )
    if not config.preserve_function:
        return
    from_scratch = config.weights == FROM_SCRATCH and own_weights(base.source) is None
    if from_scratch or _former_bn(base) == bn:
        raise UsageError(
            "--preserve-function is for trained weights whose BN changes: give --weights START and another --bn."
        )
    check_compensable(network, [layer for _, layer in survey(network)[0]])


def _former_bn(base: Plan) -> str:
    """Return the BN estimator that the weights to start from were trained with."""
    return (base.weights.trained_with if base.weights is not None else None) or "sample"


def starting_network(plan: TrainingPlan) -> tuple[nn.Module, StartedFrom | None]:
    """Build the network with the BN to train with, and with the weights to start from.

    Weights that were trained with another BN are loaded first and then converted.

    Raises:
        UsageError: the weights do not fit.
    """
    base, config = plan.base, plan.config
    former = _former_bn(base)
    if config.weights == PRETRAINED:
        with forked_rng(config.seed):
            network = base.source.build(
                num_classes=base.num_classes, in_channels=plan.data.samples.shape[0], pretrained=True
            )
        in_float32(network)
    else:
        network = build_untrained(base)
    if base.weights is not None:
        if former != "sample":
            convert_batchnorm(network, former)
        load_weights(network, base.weights)
    _convert(network, former, plan.bn, config.preserve_function)
    from_scratch = config.weights == FROM_SCRATCH
    if from_scratch and own_weights(base.source) is None:
        return network, None
    preserved = config.preserve_function and former != plan.bn
    start = base.source.spec if from_scratch else config.weights
    return network, StartedFrom(weights=start, bn=former, function_preserved=preserved, sha256=state_sha256(network))


def _convert(network: nn.Module, former: str, bn: str, preserve_function: bool) -> None:
    if former == bn:
        return
    if bn == "sample":
        restore_batchnorm(network, preserve_function=preserve_function)
    else:
        convert_batchnorm(network, bn, preserve_function=preserve_function)
