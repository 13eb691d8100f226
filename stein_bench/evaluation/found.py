"""From what the processes of a run have found out about its variants to results, in the first process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stein_bench.diagnostics.consistency import batch_diagnostics, consistency
from stein_bench.diagnostics.probe import without_advice
from stein_bench.distributed import gathered, is_main
from stein_bench.evaluation.adaptive import hidden_diagnostics
from stein_bench.evaluation.adaptive_result import with_adaptive
from stein_bench.evaluation.assemble import variant_result
from stein_bench.evaluation.batches import Setting
from stein_bench.evaluation.networks import Built
from stein_bench.evaluation.sharing import all_examples, all_units
from stein_bench.evaluation.units import Unit
from stein_bench.measures import MEASURES
from stein_bench.measures.published import with_published_metrics
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.variants import Variant
from stein_bench.report.adversarials import Keeper, adversarials_path, write_adversarials
from stein_bench.report.document import Diagnostic, SavedAdversarials
from stein_bench.report.results import AdaptiveInfo, VariantResult


@dataclass(frozen=True)
class Found:
    """What a process has found out about a variant.

    Attributes:
        variant, built: what was evaluated.
        known, new: units of an interrupted run, and those of this process.
        adaptive: how adaptive attacks treat the model, by label.
        checks: sanity checks, in one process.
        batch_dependent: whether it was evaluated with batch statistics.
    """

    variant: Variant
    built: Built
    known: list[Unit]
    new: list[Unit]
    adaptive: dict[str, AdaptiveInfo]
    checks: list[Diagnostic]
    batch_dependent: bool


def results_of(
    plan: Plan, found: Sequence[Found], setting: Setting
) -> list[tuple[VariantResult, list[Diagnostic]]] | None:
    """Return the result and the checks of every variant; None except in the first process."""
    pairs = []
    for one in found:
        units = all_units(one.known, one.new)
        checks = [check for part in gathered(one.checks) or [] for check in part]
        if units is not None:
            pairs.append(_result(plan, one, units, checks, setting))
    return pairs if is_main() else None


def _result(
    plan: Plan, found: Found, units: list[Unit], checks: list[Diagnostic], setting: Setting
) -> tuple[VariantResult, list[Diagnostic]]:
    variant = found.variant
    result = with_adaptive(variant_result(plan, variant, found.built, units), plan, found.adaptive, units)
    checks = checks + hidden_diagnostics(variant.label, list(found.adaptive.values()))
    _, robust = MEASURES[plan.task.name].unpacked(result.outcomes)
    checks += consistency(variant.label, plan.attacks, robust, setting.batch_size if found.batch_dependent else None)
    if found.adaptive:
        checks = without_advice(checks)
    checks += batch_diagnostics(result)
    return (_as_published(plan, result, setting.batch_size) if plan.config.preset is not None else result), checks


def saved_adversarials(
    plan: Plan, setting: Setting, kept: Keeper | None, found: Sequence[Found]
) -> SavedAdversarials | None:
    """Write the kept examples beside the report; nothing without an output file or if every attack failed."""
    config, keeper = plan.config, kept
    if keeper is None or config.save_adversarials is None or config.output is None:
        return None
    failed = {
        (unit.variant, unit.phase): int(unit.indices[0]) for one in found for unit in reversed(one.new) if unit.failed
    }
    keeper = all_examples(keeper, config.save_adversarials, failed) if setting.ranks > 1 else keeper
    if keeper is None or not keeper.examples():
        return None
    path = adversarials_path(config.output)
    return write_adversarials(path, keeper.examples(), plan.data.classes, config.save_adversarials)


def _as_published(plan: Plan, result: VariantResult, batch_size: int) -> VariantResult:
    """Return the results, for segmentation with the published metrics added."""
    if plan.task.name != "segmentation":
        return result
    return with_published_metrics(result, math.prod(plan.samples.shape[1:]), batch_size)
