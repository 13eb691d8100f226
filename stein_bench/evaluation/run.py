"""Entry point of an evaluation: turns a configuration into a report."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import cast

from torch import nn

from stein_bench.attacks.adaptive import ADAPTIVE
from stein_bench.config import RunConfig
from stein_bench.diagnostics.consistency import collapse_diagnostics, step_diagnostics
from stein_bench.diagnostics.effects import with_effects
from stein_bench.distributed import check_same, from_main, world_size
from stein_bench.evaluation.adaptive import find_strategy
from stein_bench.evaluation.attack_choice import with_attacked_surrogate
from stein_bench.evaluation.batches import Setting
from stein_bench.evaluation.checks import model_checks
from stein_bench.evaluation.display import PhaseDisplay
from stein_bench.evaluation.found import Found, results_of, saved_adversarials
from stein_bench.evaluation.loop import evaluate
from stein_bench.evaluation.networks import Built, build_network
from stein_bench.evaluation.opened import opened
from stein_bench.evaluation.records import Records
from stein_bench.evaluation.remaining import Remaining
from stein_bench.evaluation.sharing import processes
from stein_bench.evaluation.startup import start
from stein_bench.evaluation.surrogate import with_surrogate
from stein_bench.evaluation.units import Unit
from stein_bench.guard import repeatable_backends
from stein_bench.normalization.survey import survey
from stein_bench.offline import keeps_offline
from stein_bench.preparation.parts import brought_parts
from stein_bench.preparation.plan import Plan
from stein_bench.preparation.random_models import draws_note
from stein_bench.preparation.variants import Variant
from stein_bench.progress import Progress, Silent
from stein_bench.report.document import (
    SCHEMA_VERSION,
    DataInfo,
    DataScaling,
    ModelInfo,
    Preprocessing,
    Report,
    Run,
)
from stein_bench.report.provenance import environment
from stein_bench.report.results import VariantResult, WeightsInfo


@keeps_offline
def run_evaluation(
    config: RunConfig,
    *,
    command: str = "",
    progress: Progress | None = None,
    memory_ends_run: bool = False,
    hanging_ends_process: bool = False,
) -> Report:
    """Run `stein-bench evaluate`, except for printing and writing the report.

    With ``config.output`` finished units are kept in a journal beside it, from which ``config.resume`` continues;
    the caller removes the journal once the report is written.

    Args:
        config: the configuration to run.
        command: the command line, for the report.
        progress: receives progress and notes.
        memory_ends_run: an attack that runs out of memory ends the run, instead of being a failed one of the report.
        hanging_ends_process: an attack that cannot be stopped at ``config.timeout_per_batch`` ends the process, with
            everything kept; otherwise it is waited for.

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
        records = Records.opened(plan, setting, stack, progress, ends_process=hanging_ends_process)
        remaining = Remaining(plan, setting, records.known)
        found = [
            _run_variant(plan, variant, built, setting, records, number, remaining, progress)
            for number, (variant, built) in enumerate(_built(plan, remaining, progress))
        ]
    where = environment(plan.device, config.precision)
    shared = processes(where.device)
    pairs = results_of(plan, found, setting)
    saved = saved_adversarials(plan, setting, records.keeper, found)
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
            parts=brought_parts(plan) or None,
        ),
        model=_model_info(plan, run.blank, setting.classes, results),
        data=_data_info(plan),
        variants=results,
        diagnostics=checks,
        adversarials=saved,
    )
    return from_main(report)


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
    records: Records,
    number: int,
    remaining: Remaining,
    progress: Progress,
) -> Found:
    if any(attack.params.get("surrogate_sha256") == built.sha256 for attack in plan.attacks):
        progress.note(f"{variant.label} has the surrogate's weights: transfer attacks on it are white-box")
    check_same({f"the weights of {variant.label}": built.sha256}, "All must evaluate the same network.")
    journal, new = records.journal, list[Unit]()
    if journal:
        journal.check_network(variant.label, built.sha256)
    known = [unit for unit in records.known if unit.variant == variant.label]
    done = {unit.key for unit in known}
    with opened(plan, variant, built, setting) as (built, evaluated, probabilities):
        evaluated = replace(
            evaluated, done=done, keeper=records.keeper, given_up={unit.phase for unit in known if unit.failed},
            give_up=records.give_up if records.ends_process else None,
        )  # fmt: skip
        shown = [unit for unit in known if unit.batch in setting.own]
        display = PhaseDisplay(progress, plan, variant, shown, setting.own_samples, remaining)
        for note in draws_note(plan, variant.label, setting.draws, random=evaluated.random):
            progress.note(note)
        for phase, message in {unit.phase: unit.message for unit in known if unit.failed}.items():
            progress.note(f"{phase} is not tried again: {message}")
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
        return Found(variant, built, known, new, adaptive, checks, evaluated.batch_dependent)


def _common_weights(plan: Plan, results: list[VariantResult]) -> WeightsInfo:
    found = {result.weights.sha256 for result in results}
    return WeightsInfo(kind=plan.weights_kind, sha256=found.pop() if len(found) == 1 else None)
