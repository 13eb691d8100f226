"""Entry point of an evaluation: turns a configuration into a report."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from torch import nn

from stein_bench.attacks.adaptive import ADAPTIVE
from stein_bench.config import RunConfig
from stein_bench.diagnostics.consistency import batch_diagnostics, collapse_diagnostics, consistency, step_diagnostics
from stein_bench.diagnostics.effects import with_effects
from stein_bench.diagnostics.probe import without_advice
from stein_bench.distributed import check_same, from_main, gathered, is_main, world_size
from stein_bench.evaluation.adaptive import find_strategy, hidden_diagnostics
from stein_bench.evaluation.adaptive_result import with_adaptive
from stein_bench.evaluation.assemble import variant_result
from stein_bench.evaluation.attack_choice import with_attacked_surrogate
from stein_bench.evaluation.batches import Setting
from stein_bench.evaluation.checks import model_checks
from stein_bench.evaluation.display import PhaseDisplay
from stein_bench.evaluation.examples import known_verdicts
from stein_bench.evaluation.journal import Journal
from stein_bench.evaluation.loop import evaluate
from stein_bench.evaluation.networks import Built, build_network
from stein_bench.evaluation.opened import opened
from stein_bench.evaluation.remaining import Remaining
from stein_bench.evaluation.sharing import all_examples, all_units, check_identity, processes, shared_units
from stein_bench.evaluation.startup import start
from stein_bench.evaluation.surrogate import with_surrogate
from stein_bench.evaluation.units import Unit
from stein_bench.guard import repeatable_backends
from stein_bench.measures import MEASURES
from stein_bench.measures.published import with_published_metrics
from stein_bench.normalization.survey import survey
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.random_models import draws_note
from stein_bench.preparation.variants import Variant
from stein_bench.progress import Progress, Silent
from stein_bench.report.adversarials import Keeper, adversarials_path, write_adversarials
from stein_bench.report.document import (
    SCHEMA_VERSION,
    DataInfo,
    DataScaling,
    Diagnostic,
    ModelInfo,
    Preprocessing,
    Report,
    Run,
    SavedAdversarials,
)
from stein_bench.report.provenance import environment
from stein_bench.report.results import AdaptiveInfo, VariantResult, WeightsInfo


def run_evaluation(
    config: RunConfig, *, command: str = "", progress: Progress | None = None, memory_ends_run: bool = False
) -> Report:
    """Run `stein-bench evaluate`, except for printing and writing the report.

    With ``config.output`` finished units are kept in a journal beside it, from which ``config.resume`` continues;
    the caller removes the journal once the report is written.

    Args:
        config: the configuration to run.
        command: the command line, for the report.
        progress: receives progress and notes.
        memory_ends_run: an attack that runs out of memory ends the run, instead of being a failed one of the report.

    Raises:
        UsageError: something is wrong with the input, mostly found before anything is trained or attacked, or the
            journal belongs to another run.
        RunError: the run failed.
    """
    started, created = time.perf_counter(), datetime.now(UTC)
    progress = progress or Silent()
    check_same({"the configuration": config.document()}, "Give all the same options and files.")
    if world_size() > 1:
        progress.note(f"{world_size()} processes share the batches; those of the first are shown")
    run = start(config, progress, memory_ends_run=memory_ends_run)
    plan, setting, batch_size = run.plan, run.setting, run.setting.batch_size
    with ExitStack() as stack:
        stack.enter_context(repeatable_backends())
        plan = with_attacked_surrogate(with_surrogate(plan, run.surrogate, batch_size, progress), batch_size)
        records = _Records.opened(plan, setting, stack, progress)
        remaining = Remaining(plan, setting, records.known)
        found = [
            _run_variant(plan, variant, built, setting, records, number, remaining, progress)
            for number, (variant, built) in enumerate(_built(plan, remaining, progress))
        ]
    where = environment(plan.device, config.precision)
    shared = processes(where.device)
    pairs = _results(plan, found, setting)
    saved = _saved_adversarials(plan, setting, records, found)
    if pairs is None:  # the first process makes the report
        return from_main(cast(Report, None))
    results = with_effects([result for result, _ in pairs], batch_size, plan.task.name)
    checks = [*collapse_diagnostics(results, setting.classes), *step_diagnostics(plan.attacks)]
    checks += [check for _, own in pairs for check in own]
    report = Report(
        schema_version=SCHEMA_VERSION,
        run=Run(
            id=str(uuid.uuid4()),
            created=created.isoformat(timespec="seconds"),
            command=command,
            config=config.document(),
            config_sha256=config.sha256(),
            seed=config.seed,
            environment=where,
            wall_seconds=time.perf_counter() - started,
            preset=config.preset,
            attack_network=plan.attack_network,
            batch_size=batch_size if config.batch_size == "auto" else None,
            processes=shared,
        ),
        model=_model_info(plan, run.blank, setting.classes, results),
        data=_data_info(plan),
        variants=results,
        diagnostics=checks,
        adversarials=saved,
    )
    return from_main(report)


def _as_published(plan: Plan, result: VariantResult, batch_size: int) -> VariantResult:
    """Return the results, for segmentation with the published metrics added."""
    if plan.task.name != "segmentation":
        return result
    return with_published_metrics(result, math.prod(plan.samples.shape[1:]), batch_size)


@dataclass(frozen=True)
class _Records:
    """What is kept while a run goes on.

    Attributes:
        journal: receives finished units; None without an output file.
        known: units that an interrupted run had finished, in any process.
        keeper: receives adversarial examples; None if none are stored.
    """

    journal: Journal | None
    known: Sequence[Unit]
    keeper: Keeper | None

    @classmethod
    def opened(cls, plan: Plan, setting: Setting, stack: ExitStack, progress: Progress) -> _Records:
        """Open the journal, if there is an output file, until the stack is closed."""
        config, identity = plan.config, _identity(plan, setting.batch_size)
        check_identity(identity)
        journal, known = None, list[Unit]()
        if config.output is not None:
            journal = Journal(config.output, identity, resume=config.resume, rank=setting.rank)
            stack.enter_context(journal)
            if journal.damaged:
                progress.note(f"{journal.path}: its end is incomplete; the batch in it is computed again")
            known = shared_units([unit for unit in journal.units if not unit.failed])
        most = config.save_adversarials
        keeper = None if most is None else Keeper(most, known_verdicts(known, plan.task.name))
        return cls(journal, known, keeper)


@dataclass(frozen=True)
class _Found:
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


def _results(
    plan: Plan, found: Sequence[_Found], setting: Setting
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
    plan: Plan, found: _Found, units: list[Unit], checks: list[Diagnostic], setting: Setting
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


def _saved_adversarials(
    plan: Plan, setting: Setting, records: _Records, found: Sequence[_Found]
) -> SavedAdversarials | None:
    """Write the kept examples beside the report; nothing without an output file or if every attack failed."""
    config, keeper = plan.config, records.keeper
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


def _model_info(plan: Plan, blank: nn.Module, classes: int, results: list[VariantResult]) -> ModelInfo:
    return ModelInfo(
        name=plan.source.name,
        source=plan.source.spec,
        parameters=sum(parameter.numel() for parameter in blank.parameters()),
        batchnorm_layers=len(survey(blank)[0]),
        classes=classes,
        weights=_common_weights(plan, results),
        preprocessing=Preprocessing(mean=plan.scaling.mean, std=plan.scaling.std, origin=plan.scaling.origin),
        notes=list(plan.model_notes()) or None,
    )


def _data_info(plan: Plan) -> DataInfo:
    scaling = plan.samples.scaling()
    return DataInfo(
        name=plan.data.name,
        split=plan.samples.split,
        task=plan.task.name,
        classes=len(plan.data.classes),
        samples=len(plan.samples),
        shape=plan.samples.shape,
        sha256=plan.samples.sha256(),
        scaling=None if scaling is None else DataScaling(**asdict(scaling)),
        grouped_by=plan.samples.cells and plan.samples.grouped_by,
        notes=list(plan.data_notes()) or None,
    )


def _built(plan: Plan, remaining: Remaining, progress: Progress) -> Iterator[tuple[Variant, Built]]:
    """Yield each variant with its network; variants with the same estimator share one."""
    built: dict[str, Built] = {}
    for variant in plan.variants:
        if variant.bn not in built:
            with remaining.building(variant.bn):
                built[variant.bn] = build_network(plan, variant.bn, progress)
        yield variant, built[variant.bn]


def _run_variant(
    plan: Plan,
    variant: Variant,
    built: Built,
    setting: Setting,
    records: _Records,
    number: int,
    remaining: Remaining,
    progress: Progress,
) -> _Found:
    if any(attack.params.get("surrogate_sha256") == built.sha256 for attack in plan.attacks):
        progress.note(f"{variant.label} has the surrogate's weights: transfer attacks on it are white-box")
    check_same({f"the weights of {variant.label}": built.sha256}, "All must evaluate the same network.")
    journal, new = records.journal, list[Unit]()
    if journal:
        journal.check_network(variant.label, built.sha256)
    known = [unit for unit in records.known if unit.variant == variant.label]
    done = {(unit.variant, unit.phase, unit.batch) for unit in known}
    with opened(plan, variant, built, setting) as (built, evaluated, probabilities):
        evaluated = replace(evaluated, done=done, keeper=records.keeper)
        shown = [unit for unit in known if unit.batch in setting.own]
        display = PhaseDisplay(progress, plan, variant, shown, setting.own_samples, remaining)
        for note in draws_note(plan, variant.label, setting.draws, random=evaluated.random):
            progress.note(note)
        found = {
            attack.label: find_strategy(evaluated, attack, evaluated.attack_model, progress)
            for attack in plan.attacks
            if attack.name == ADAPTIVE
        }
        adaptive = {label: info for label, (_, info) in found.items()}
        check_same(
            {f"the gradients of {label}": info.model_dump() for label, info in adaptive.items()},
            "They are tried out in every process alike: use devices of one kind.",
        )
        evaluated = replace(evaluated, strategies={label: strategy for label, (strategy, _) in found.items()})
        for label, computed in evaluate(evaluated, plan.attacks):
            with display.phase(label):
                for unit in computed:
                    new.append(unit)
                    if journal:
                        journal.add(unit)
                    display.show(unit)
        checks = []
        if number % setting.ranks == setting.rank:  # the variants' checks are dealt as well
            with display.checks() as followed:
                checks = model_checks(plan, evaluated, probabilities, followed)
        return _Found(variant, built, known, new, adaptive, checks, evaluated.batch_dependent)


def _identity(plan: Plan, batch_size: int) -> dict[str, Any]:
    """Return what must be equal for outcomes to belong to one run."""
    where = environment(plan.device, plan.config.precision)
    return {
        "batch_size": batch_size,
        "config_sha256": plan.config.sha256(),
        "attacks": [attack.label for attack in plan.attacks],  # the battery's file may have changed since
        "data_sha256": plan.samples.sha256(),
        "weights_sha256": plan.weights.sha256 if plan.weights else None,
        "model": plan.source.fingerprint(),
        "packages": where.packages,
        "device": where.device,
        **({} if plan.attack_network is None else {"attack_network": plan.attack_network.model_dump()}),
    }


def _common_weights(plan: Plan, results: list[VariantResult]) -> WeightsInfo:
    found = {result.weights.sha256 for result in results}
    return WeightsInfo(kind=plan.weights_kind, sha256=found.pop() if len(found) == 1 else None)
