"""From finished units to the parts of a report: gather, count, and mark what cannot be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stein_bench.attacks.attack import Attack, by_run
from stein_bench.data.samples import Samples
from stein_bench.evaluation.networks import Built
from stein_bench.evaluation.units import (
    CLEAN,
    DISAGREES,
    DISTANCE,
    DRAWN,
    REPLAY,
    Phase,
    Unit,
    draws,
    gather,
    of_setting,
    replay_phase,
)
from stein_bench.measures import MEASURES, Outcome, RightOrWrong
from stein_bench.measures.budgets import budget_results
from stein_bench.measures.calibration import calibration, calibration_under_attack
from stein_bench.measures.common import cells_of_groups, summarize
from stein_bench.measures.distances import distance_statistics, spread
from stein_bench.measures.groups import group_results
from stein_bench.measures.own import own_figures, under_attack
from stein_bench.measures.sites import site_results
from stein_bench.measures.unsearched import unsearched_result
from stein_bench.normalization.inspection import inspect_batchnorm
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.variants import Variant
from stein_bench.report.attack_names import SEVERITY
from stein_bench.report.packing import hash_ids
from stein_bench.report.results import (
    AttackResult,
    Clean,
    CorruptionResult,
    LayerShrinkage,
    Outcomes,
    Replay,
    SkippedLayerInfo,
    Spread,
    VariantResult,
    WeightsInfo,
    shown,
)
from stein_bench.statistics.rates import Bits


def gather_phases(units: Iterable[Unit], samples: int) -> dict[str, Phase]:
    """Group the units of one variant by phase."""
    by_phase: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.phase.startswith(REPLAY):
            continue  # covers only some samples, see `replay_result`
        by_phase.setdefault(unit.phase, []).append(unit)
    return {name: gather(found, samples) for name, found in by_phase.items()}


def variant_result(plan: Plan, variant: Variant, built: Built, units: Sequence[Unit]) -> VariantResult:
    """Build a variant's part of the report from its units."""
    phases, measure = gather_phases(units, len(plan.samples)), MEASURES[plan.task.name]
    samples, batch_dependent = plan.samples, variant.stats == "batch"
    clean = measure.from_columns(phases[CLEAN].columns).clustered(samples.cluster)
    attacks = [attack for attack in plan.attacks if not attack.info.is_corruption]
    corruptions = [attack for attack in plan.attacks if attack.info.is_corruption]
    robust = _robust_outcomes(clean, attacks, phases)
    replays = {
        label: replay_result(units, label, clean, bits, _no_success(phases[label])) for label, bits in robust.items()
    }
    corrupted = {
        attack.label: [
            measure.from_columns(columns).clustered(samples.cluster) for columns in draws(phases[attack.label].columns)
        ]
        for attack in corruptions
        if not phases[attack.label].message
    }
    common = {attack.label for attack in corruptions if attack.info.is_common}  # a mean needs all of them
    cells = cells_of_groups(clean, samples.cells) or {
        (attack.name, int(attack.params[SEVERITY])): corrupted[attack.label]
        for attack in corruptions
        if attack.info.is_common and corrupted.keys() >= common
    }
    run_of = {attack.label: together[0].label for together in by_run(attacks) for attack in together[1:]}
    worst = measure.worst_case(list(robust.values())) if robust and len(robust) == len(attacks) else None
    worst_rate = None if worst is None else worst.accuracy()
    return VariantResult(
        **_about(plan, variant, built),
        clean=_clean(phases[CLEAN], clean, batch_dependent, samples),
        attacks=[
            _attack_result(
                attack,
                phases[attack.label],
                clean,
                robust.get(attack.label),
                batch_dependent,
                replays.get(attack.label),
                samples,
                run_of.get(attack.label),
                phases[CLEAN],
            )
            for attack in attacks
        ],
        corruptions=[
            _corruption_result(attack, phases[attack.label], corrupted.get(attack.label, []), batch_dependent, samples)
            for attack in corruptions
        ],
        common_corruptions=summarize(
            cells,
            None if samples.cells else shown(clean.headline(), clean.expected()).value,
            plan.baselines.get(variant.label),
        ),
        worst_case_accuracy=None if worst_rate is None else worst_rate.value,
        worst_case_ci95=None if worst_rate is None else (worst_rate.low, worst_rate.high),
        worst_case_expected_accuracy=None if worst is None else worst.expected(),
        worst_case_metrics=None if worst is None else worst.metrics() or None,
        **{f"worst_case_{name}": found for name, found in _parts([] if worst is None else [worst], samples).items()},
        budgets=budget_results(attacks, robust),
        shrinkage=_shrinkage(variant, built) if variant.bn != "sample" else [],
        outcomes=Outcomes(
            samples=len(plan.samples),
            sample_ids_sha256=hash_ids(plan.samples.ids),
            **measure.packed(clean, robust, corrupted),
        ),
    )


def _about(plan: Plan, variant: Variant, built: Built) -> dict[str, Any]:
    """Return the identity of a variant and how its network was built."""
    summary = built.summary
    return {
        "bn": variant.shown,
        "stats": variant.stats,
        "control": variant.control,
        "converted_layers": len(summary.converted) if summary else 0,
        "skipped_layers": [
            SkippedLayerInfo(name=layer.name, kind=layer.kind, reason=layer.reason)
            for layer in (summary.skipped if summary else ())
        ],
        "layers_of_unknown_count": len(summary.variance_not_shrunk) if summary else 0,
        "conversion": built.conversion,
        "function_preserved": built.function_preserved,
        "weights": WeightsInfo(kind=plan.weights_kind, sha256=built.sha256),
    }


def _robust_outcomes(clean: Outcome, attacks: Sequence[Attack], phases: Mapping[str, Phase]) -> dict[str, Outcome]:
    """Return the outcome under each attack that did not fail, by label."""
    measure = type(clean)
    done = [(attack.label, phases[attack.label]) for attack in attacks if not phases[attack.label].message]
    return {label: clean.under_attack(measure.from_columns(phase.columns), _no_success(phase)) for label, phase in done}


def _shrinkage(variant: Variant, built: Built) -> list[LayerShrinkage]:
    """Return the effect of the variant's estimator on the running moments of every layer that keeps them."""
    found = []
    for layer in inspect_batchnorm(built.network, [variant.bn]).layers:
        for shrinkage in layer.shrinkage.values():
            ratio = shrinkage.variance_ratio
            found.append(
                LayerShrinkage(
                    layer=layer.name or layer.kind,
                    count=layer.count,
                    mean_kept=shrinkage.mean_kept,
                    variance_ratio=None if ratio is None else (ratio.min, ratio.median, ratio.max),
                )
            )
    return found


def _parts(draws: Sequence[Outcome], samples: Samples) -> dict[str, Any]:
    """Return the results by site and by group, as far as the samples have them."""
    return {"sites": site_results(draws, samples.sites), "groups": group_results(draws, samples.cells)}


def _clean(phase: Phase, clean: Outcome, batch_dependent: bool, samples: Samples) -> Clean:
    rate = clean.accuracy()
    return Clean(
        accuracy=rate.value,
        ci95=(rate.low, rate.high),
        expected_accuracy=clean.expected(),
        metrics=clean.metrics() or None,
        own_metrics=own_figures([phase.columns], samples.cluster),
        calibration=calibration([phase.columns]),
        **_parts([clean], samples),
        assumes_independence=batch_dependent,
        nonfinite_outputs=int((~phase.bits("finite")).sum()),
        seconds=phase.seconds,
    )


def _no_success(phase: Phase) -> Bits:
    """Return which adversarial inputs are never successes, whatever the prediction: invalid or over budget."""
    return phase.bits("invalid") | phase.bits("over_budget")


def replay_result(
    units: Iterable[Unit], label: str, clean: Outcome, robust: Outcome, no_success: Bits
) -> Replay | None:
    """Return how stable the verdicts of an attack are in other batches; None if nothing was replayed.

    Args:
        units: units of one variant.
        label: the attack's label.
        clean, robust: outcomes of all samples, in the batches in which they were attacked.
        no_success: which adversarial inputs do not count as successes in any batch.
    """
    replayed = {unit.batch: unit for unit in units if unit.phase == replay_phase(label)}
    if set(replayed) != {0, 1}:
        return None
    shuffled, single = replayed[0], replayed[1]

    def share_and_flips(unit: Unit, setting: str) -> tuple[float | None, float | None]:
        columns = of_setting(unit.columns, setting)
        if not columns or len(unit.indices) == 0:
            return None, None
        again = type(clean).from_columns(columns)
        here = clean.select(unit.indices).under_attack(again, no_success[unit.indices])
        return here.value(), float(here.differs(robust.select(unit.indices)).mean())

    shuffled_share, shuffled_flipped = share_and_flips(shuffled, "shuffled")
    among_clean, among_clean_flipped = share_and_flips(single, "among_clean")
    alone, alone_flipped = share_and_flips(single, "alone")
    if among_clean is None or among_clean_flipped is None:
        return None
    everything = shuffled.indices if len(shuffled.indices) else np.arange(len(robust))
    return Replay(
        joint=robust.select(everything).value(),
        shuffled=shuffled_share,
        shuffled_flipped=shuffled_flipped,
        samples=len(everything),
        single_samples=len(single.indices),
        single_joint=robust.select(single.indices).value(),
        among_clean=among_clean,
        among_clean_flipped=among_clean_flipped,
        alone=alone,
        alone_flipped=alone_flipped,
    )


def _ratio(outcome: Outcome) -> float:
    right, of = outcome.right()
    return right / of


def _attack_result(
    attack: Attack,
    phase: Phase,
    clean: Outcome,
    robust: Outcome | None,
    batch_dependent: bool,
    replay: Replay | None,
    samples: Samples,
    same_run_as: str | None,
    clean_phase: Phase,
) -> AttackResult:
    rate = success = metrics = own_metrics = None
    invalid = over_budget = 0
    linf = l2 = distances = unsearched = calibrated = None
    if robust is not None:
        rate, success, metrics = robust.accuracy(), clean.success_rate(robust), robust.metrics() or None
        own = under_attack(clean_phase.columns, phase.columns, _no_success(phase))
        own_metrics = own_figures([own], samples.cluster)
        calibrated = calibration_under_attack(clean_phase.columns, phase.columns, _no_success(phase))
        invalid, over_budget = int(phase.bits("invalid").sum()), int(phase.bits("over_budget").sum())
        linf, l2 = (_spread(phase, name, robust.worse_than(clean)) for name in ("linf", "l2"))
        if DISTANCE in phase.columns and isinstance(clean, RightOrWrong):
            distances = distance_statistics(phase.columns[DISTANCE].astype(np.float64), clean.correct)
        if DRAWN in phase.columns and isinstance(clean, RightOrWrong) and isinstance(robust, RightOrWrong):
            unsearched = unsearched_result(clean.correct, robust.correct, phase.bits(DRAWN))
    return AttackResult(
        name=attack.info.name,
        backend=attack.info.backend,
        norm=attack.norm,
        eps=attack.eps,
        params=dict(attack.params),
        label=attack.label,
        status="failed" if phase.message else "invalid" if invalid else "ok",
        message=phase.message or _invalid_message(invalid, len(clean)),
        robust_accuracy=None if rate is None else rate.value,
        ci95=None if rate is None else (rate.low, rate.high),
        expected_accuracy=None if robust is None else robust.expected(),
        metrics=metrics,
        own_metrics=own_metrics,
        calibration=calibrated,
        **_parts([] if robust is None else [robust], samples),
        assumes_independence=batch_dependent,
        attack_success_rate=success,
        invalid=invalid,
        over_budget=over_budget,
        perturbation_linf=linf,
        perturbation_l2=l2,
        distances=distances,
        replay=replay,
        verdict_differences=int(phase.bits(DISAGREES).sum()) if DISAGREES in phase.columns else None,
        unsearched=unsearched,
        same_run_as=same_run_as,
        forward_passes=phase.forward_passes,
        backward_passes=phase.backward_passes,
        seconds=phase.seconds,
    )


def _corruption_result(
    attack: Attack, phase: Phase, found: Sequence[Outcome], batch_dependent: bool, samples: Samples
) -> CorruptionResult:
    measure = type(found[0]) if found else Outcome
    mean, worst = (measure.mean_accuracy(found), measure.worst_case(found).accuracy()) if found else (None, None)
    return CorruptionResult(
        name=attack.info.name,
        params=dict(attack.params),
        label=attack.label,
        status="failed" if phase.message else "ok",
        message=phase.message,
        accuracy=None if mean is None else mean.value,
        ci95=None if mean is None else (mean.low, mean.high),
        metrics=(measure.mean_metrics(found) or None) if found else None,
        own_metrics=own_figures(draws(phase.columns), samples.cluster) if found else None,
        calibration=calibration(draws(phase.columns)) if found else None,
        **_parts(found, samples),
        assumes_independence=batch_dependent,
        accuracies=[_ratio(outcome) for outcome in found],
        worst_accuracy=None if worst is None else worst.value,
        worst_ci95=None if worst is None else (worst.low, worst.high),
        forward_passes=phase.forward_passes,
        seconds=phase.seconds,
    )


def _spread(phase: Phase, name: str, broken: Bits) -> Spread | None:
    return spread(phase.columns[name].astype(np.float64)[broken])


def _invalid_message(invalid: int, samples: int) -> str:
    if not invalid:
        return ""
    return (
        f"{invalid} of {samples} adversarial inputs are outside the ε-ball or [0, 1], not finite, or give "
        "non-finite outputs; they do not count as successes"
    )
