"""The surrogate: another model with the same inputs and classes, on which transfer attacks are crafted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stein_bench.errors import UsageError
from stein_bench.evaluation.behind_probabilities import tempered
from stein_bench.evaluation.networks import Built, build_network
from stein_bench.models.probabilities import BehindProbabilities
from stein_bench.models.sources import find_model
from stein_bench.preparation.existing_weights import existing_weights, under_own_names
from stein_bench.preparation.hidden_gradients import check_shown_gradient
from stein_bench.preparation.inputs import decide_scaling
from stein_bench.preparation.plan import Plan, check_model
from stein_bench.preparation.programs import check_program_options
from stein_bench.preparation.untrained import with_untrained
from stein_bench.preparation.variants import choose_variants
from stein_bench.preparation.weights_kind import decide_classes, weights_kind
from stein_bench.progress import Progress
from stein_bench.seeds import derive_seed


def plan_surrogate(plan: Plan, classes: int) -> Plan | None:
    """Find and check the model that the transfer attacks of `plan` are crafted on; nothing is trained.

    Returns:
        A plan of the surrogate on the same samples, or None if no attack is crafted on one.

    Raises:
        UsageError: a transfer attack has no surrogate, a surrogate no transfer attack, or the surrogate does not fit:
            its number of outputs is not `classes`, it rejects the inputs, or its weights are missing.
    """
    config, transfers = plan.config, tuple(attack for attack in plan.attacks if attack.info.is_transfer)
    if config.surrogate is None:
        if config.surrogate_weights is not None:
            raise UsageError("--surrogate-weights needs --surrogate, the model for these weights.")
        if config.surrogate_weights_key is not None:
            raise UsageError("--surrogate-weights-key needs --surrogate and --surrogate-weights, the file it is for.")
        if transfers:
            raise UsageError(f"attack {transfers[0].info.name} is crafted on another model: name it with --surrogate.")
        return None
    if not transfers:
        raise UsageError(
            f"--surrogate {config.surrogate} is for transfer attacks, but none is given: add for example "
            "--attack transfer.mifgsm."
        )
    if config.surrogate_weights == "none":
        raise UsageError("--surrogate-weights none: attacks crafted on an untrained network are meaningless.")
    try:
        found, network = with_untrained(replace(_surrogate_plan(plan), attacks=transfers))
        outputs = check_model(found, network)
        check_shown_gradient(found, network)
    except UsageError as error:
        raise UsageError(f"--surrogate {config.surrogate}: {error}") from error
    if outputs != classes:
        raise UsageError(
            f"--surrogate {config.surrogate} has {outputs} outputs and {plan.source.name} has {classes}: a surrogate "
            "needs the same classes."
        )
    return found


def _surrogate_plan(plan: Plan) -> Plan:
    """Return `plan` with the surrogate as its model: its own weights and input scaling, the same samples.

    Its seed differs, so that a surrogate with the evaluated model's architecture is still a different network.
    """
    config = plan.config.model_copy(
        update={
            "model": plan.config.surrogate,
            "weights": plan.config.surrogate_weights or "auto",
            "weights_key": plan.config.surrogate_weights_key,
            "seed": derive_seed(plan.config.seed, "surrogate"),
            **{"bn": None, "stats": ("running",), "mean": None, "std": None},
            **{"controls": False, "preserve_function": False},
        }
    )
    source = find_model(config.model)
    check_program_options(config, source)
    weights = existing_weights(config.weights, config.weights_key, "surrogate-")
    channels = plan.samples.shape[0]
    if weights is not None:
        weights = under_own_names(weights, source, len(plan.data.classes), channels, config.seed)
    kind = weights_kind(config, plan.data, source)
    return replace(
        plan,
        config=config,
        source=source,
        num_classes=decide_classes(plan.data, source, kind, weights),
        weights_kind=kind,
        weights=weights,
        scaling=decide_scaling(config, source, weights, channels),
        variants=choose_variants(config, weights, source),
        notes=(),
    )


def on_same_samples(surrogate: Plan, plan: Plan) -> Plan:
    """Return the plan of a surrogate with the samples of `plan`, which are checked by now."""
    return replace(surrogate, samples=plan.samples, training=plan.training, training_notes=plan.training_notes)


def with_surrogate_notes(plan: Plan, surrogate: Plan | None) -> Plan:
    """Return `plan` with what is to be said about the surrogate and the reading of its weights."""
    notes = surrogate.model_notes() if surrogate is not None else ()
    return replace(plan, notes=(*plan.notes, *(f"surrogate: {note}" for note in notes)))


def with_surrogate(
    plan: Plan,
    surrogate: Plan | None,
    batch_size: int,
    progress: Progress,
    build: Callable[[Plan, str, Progress], Built] = build_network,
) -> Plan:
    """Build the surrogate, training it if its plan says so, and craft the transfer attacks of `plan` on it.

    If it returns probabilities, they are crafted on the logits behind them. `build` makes its network.
    """
    if surrogate is None:
        return plan
    progress.note(f"surrogate: {surrogate.source.name}")
    built = build(surrogate, surrogate.variants[0].bn, progress)
    wrapped = surrogate.wrap(built.network)
    probabilities = tempered(surrogate, wrapped, batch_size, batch_dependent=False)
    model = wrapped if probabilities is None else BehindProbabilities(wrapped, probabilities)
    return replace(
        plan,
        attacks=tuple(
            attack.crafted_on(model, surrogate.source.spec, built.sha256) if attack.info.is_transfer else attack
            for attack in plan.attacks
        ),
    )
