"""Run an experiment: train and evaluate its missing cells, then summarize all of them."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from stein_bench.comparison.pairing import distrust, subjects
from stein_bench.config import make_config
from stein_bench.distributed import alone, check_same, dealt, from_main, gathered, is_main, world_size
from stein_bench.errors import RunError, UsageError
from stein_bench.evaluation.journal import journal_paths, remove_journals
from stein_bench.evaluation.run import run_evaluation
from stein_bench.files import write_text
from stein_bench.files.locks import HeldError, holding, lock_path, taking_turns
from stein_bench.preparation.inputs import check_values
from stein_bench.preparation.plan import check_model, decide_task, prepare
from stein_bench.preparation.untrained import build_untrained
from stein_bench.preparation.variants import NO_CONTROL
from stein_bench.progress import Progress, Silent
from stein_bench.report.document import Report, read_report
from stein_bench.report.provenance import environment
from stein_bench.reproduction.cells import Evaluation, Folder, Training, evaluation_settings, evaluations
from stein_bench.reproduction.contrasts import Sought, main_contrast, registered_results, sought
from stein_bench.reproduction.document import (
    KIND,
    VERSION,
    Cell,
    Contrast,
    ExperimentRun,
    Power,
    Reproduction,
    Stopping,
)
from stein_bench.reproduction.experiment import Experiment
from stein_bench.reproduction.pilots import pilot_of_cells, pilot_of_document
from stein_bench.reproduction.planning import Until, look_line, plan_power, power_lines, stopping, until_lines
from stein_bench.reproduction.summary import Measured, collapsed, measured, rows
from stein_bench.tally import Tally
from stein_bench.training.card import is_described
from stein_bench.training.checkpoint import checkpoint_path
from stein_bench.training.plan import plan_training
from stein_bench.training.run import run_training


class _OfCell:
    """Forwards a cell's progress, except the note that it lacks a control: the control is another cell."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.start, self.advance, self.finish = progress.start, progress.advance, progress.finish

    def note(self, message: str) -> None:
        """Forward the message, unless it is about a missing control."""
        if message != NO_CONTROL:
            self._progress.note(message)


def run_experiment(
    experiment: Experiment,
    folder: Path,
    *,
    command: str = "",
    progress: Progress | None = None,
    until: Until | None = None,
    pilot: str | None = None,
    notes: Sequence[str] = (),
    left_out: int = 0,
    main_is_left_out: bool = False,
) -> Reproduction:
    """Run the missing cells of an experiment, and summarize all of them.

    What difference the seeds can show is told before the first cell.

    Args:
        experiment: what to run.
        folder: where the cells are kept; created if missing.
        command: the command line, for the document.
        progress: receives progress and notes.
        until: add seeds until the interval of the main contrast is narrow enough.
        pilot: an earlier document, from which the sd of the main contrast is taken.
        notes: for the document, beside those of the experiment.
        left_out: number of registered contrasts that options have taken from the experiment.
        main_is_left_out: whether the main one is among them.

    Raises:
        UsageError: the input is invalid; nothing was trained.
        RunError: no cell has a result.
    """
    started, created = time.perf_counter(), datetime.now(UTC)
    progress = progress or Silent()
    if until is not None and world_size() > 1:
        raise UsageError("--until adds one seed after the other: run it in one process, without torchrun.")
    checked = check_experiment(experiment)
    cells_in = Folder(folder, checked.fingerprint)
    cells = evaluations(experiment, cells_in)
    registered = sought(experiment, checked.task)
    main = None if main_is_left_out else _main(experiment, checked.task, until, pilot)
    every = evaluations(_of_seeds(experiment, experiment.seeds if until is None else until.most), cells_in)
    own = {cell.path.name for cell in every}
    known = None if main is None or pilot is None else pilot_of_document(pilot, main, own)
    with _made(folder):
        _check_trainings(experiment, cells)
    check_same({"the data, the code of the model or the device": checked.fingerprint}, "All must run the same.")
    power = None
    if main is not None and is_main():
        known = known or pilot_of_cells(every, main)
        power = plan_power(main, experiment.seeds, len(registered) + left_out, known)
        _tell(main, power, until, progress)
    failed = _run_shared(cells, progress) if world_size() > 1 else {}
    if not is_main():
        return from_main(cast(Reproduction, None))
    with alone():
        results, figures = _run_cells(cells, progress, failed)
        if until is None or main is None:
            seeds, ended = experiment.seeds, None
        else:
            seeds, ended = _add_seeds(experiment, cells_in, until, main, results, figures, progress)
    reports = [result for result in results if result[1] is not None]
    if not reports:
        raise RunError(f"no cell of the experiment has a result: {results[0][0].distrusted[0]}")
    first = reports[0][1]
    assert first is not None
    run = range(experiment.seed, experiment.seed + seeds)
    found = rows(figures, run)
    return from_main(Reproduction(
        schema_version=VERSION,
        kind=KIND,
        run=ExperimentRun(
            id=str(uuid.uuid4()),
            created=created.isoformat(timespec="seconds"),
            command=command,
            environment=first.run.environment,
            wall_seconds=time.perf_counter() - started,
        ),
        experiment=experiment.document(),
        model=first.model.name,
        parameters=first.model.parameters,
        data=first.data,
        training_data_sha256=checked.training_data_sha256,
        seeds=list(run),
        cells=_replicates([cell for cell, _ in results]),
        rows=found,
        registered=registered_results(found, registered, left_out) if registered else None,
        registered_tests=len(registered) + left_out if registered and left_out else None,
        main_contrast_left_out=True if main_is_left_out and registered else None,
        power=power,
        until=ended,
        collapsed=collapsed(found, first.model.classes),
        notes=[*experiment.notes, *notes],
    ))  # fmt: skip


def _main(experiment: Experiment, task: str, until: Until | None, pilot: str | None) -> Sought | None:
    """Return the main contrast, which `--until` and `--pilot` need."""
    found = main_contrast(experiment, task)
    option = "--until" if until is not None else "--pilot"
    if found is None and (until is not None or pilot is not None):
        raise UsageError(
            f"{option} needs a main contrast: register one in the experiment's file (contrasts), or include plain BN "
            "(sample) and another estimator under running statistics, and an attack."
        )
    return found


def _tell(main: Sought, power: Power, until: Until | None, progress: Progress) -> None:
    progress.note(f"main contrast: {main}")
    for line in power_lines(power):
        progress.note(line)
    for line in until_lines(until, power) if until is not None else ():
        progress.note(line)


def _of_seeds(experiment: Experiment, seeds: int, first: int | None = None) -> Experiment:
    """Return the experiment with other seeds. The cells of a seed are the same whatever other seeds there are."""
    return experiment.model_copy(update={"seeds": seeds, "seed": experiment.seed if first is None else first})


def _add_seeds(
    experiment: Experiment,
    folder: Folder,
    until: Until,
    main: Sought,
    results: list[tuple[Cell, Report | None]],
    figures: list[Measured],
    progress: Progress,
) -> tuple[int, Stopping]:
    """Add seeds, with all parts, BNs and sources, until the main contrast's interval is narrow enough or at the cap.

    Args:
        experiment: with the seeds that have been run.
        folder: of the cells.
        until: the rule.
        main: the main contrast.
        results, figures: of the cells that have been run; those of the added seeds are put in their places.
        progress: receives progress.

    Returns:
        the number of seeds, and how it ended.
    """
    seeds, found = experiment.seeds, _result(main, figures, experiment.seeds, experiment.seed)
    while found is not None and not until.met(found) and seeds < until.most:
        added = experiment.seed + seeds
        progress.note(look_line(until, found, seeds, added))
        more, measured_more = _run_cells(evaluations(_of_seeds(experiment, 1, added), folder), progress, {})
        results += more
        figures += measured_more
        seeds += 1
        found = _result(main, figures, seeds, experiment.seed)
    order = {part.name: number for number, part in enumerate(experiment.parts)}
    results.sort(key=lambda result: (order[result[0].part], result[0].seed))  # as if the seeds had been fixed
    figures.sort(key=lambda one: (order[one.part], one.seed))
    return seeds, stopping(until, found, experiment.seeds)


def _result(main: Sought, figures: Sequence[Measured], seeds: int, first: int) -> Contrast | None:
    return main.result(rows(figures, range(first, first + seeds)))


@dataclass(frozen=True)
class Checked:
    """Hashes of what an experiment's settings only name, its data and model, and the task that they are for."""

    fingerprint: str
    training_data_sha256: str
    task: str


def check_experiment(experiment: Experiment) -> Checked:
    """Resolve and check model, data, BN and attacks of every part, without training or attacking.

    Raises:
        UsageError: something is unknown, missing or inconsistent.
    """
    for part in experiment.parts:
        for bn in experiment.bn:
            for stats in experiment.sources(part, bn):
                settings = evaluation_settings(experiment, part, bn, stats, experiment.seed)
                plan = prepare(make_config({**settings, "weights": "fit"}))
        network = build_untrained(plan)
        plan = decide_task(plan, network)
        check_model(plan, network)
    splits = (plan.data.samples(split, plan.resize) for split in ("train", "test"))  # without a limit
    training, test = (check_values(samples, Silent()).sha256() for samples in splits)
    where = environment(plan.device, experiment.precision)
    matters = [training, test, plan.source.fingerprint(), where.packages, where.device]
    fingerprint = hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()
    return Checked(fingerprint, training, plan.task.name)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Create the folder; remove it again, if it is empty, when the body raises."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder {folder} for the cells: {error.strerror}.") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty: it has cells of an earlier run
            folder.rmdir()
        raise


def _check_trainings(experiment: Experiment, cells: Sequence[Evaluation]) -> None:
    """Check the training of one network per part: the others differ in BN and seed, which are checked already."""
    for part in experiment.parts:
        own = [cell.training for cell in cells if cell.part == part]
        plan_training(own[-1].config)


def _trainings(cells: Sequence[Evaluation]) -> list[Training]:
    return list({cell.training.path: cell.training for cell in cells}.values())


def _run_shared(cells: Sequence[Evaluation], progress: Progress) -> dict[Path, str]:
    """Run the missing cells, each network with its evaluations in one of the processes.

    Returns:
        the files of cells that failed, and why, in the first process.
    """
    networks = {cell.training.path: [one for one in cells if one.training.path == cell.training.path] for cell in cells}
    mine, failed = dealt(list(networks.values())), dict[Path, str]()
    progress.note(f"{world_size()} processes share the {len(networks)} networks; those of the first are shown")
    with alone():
        tally = Tally(len(cells) + len(networks), progress, "cell")
        for together in mine:
            failed |= _train(together, tally)
            for cell in together if together[0].training.path not in failed else ():
                found = _evaluate(cell, tally)
                if isinstance(found, str):
                    failed[cell.path] = found
    return {path: why for part in gathered(failed) or [] for path, why in part.items()}


def _run_cells(
    cells: Sequence[Evaluation], progress: Progress, known: Mapping[Path, str]
) -> tuple[list[tuple[Cell, Report | None]], list[Measured]]:
    """Train and evaluate missing cells. A failed cell has no results but records why; the others continue.

    Args:
        cells: all evaluations.
        progress: receives progress.
        known: files of cells that failed in other processes, and why.
    """
    tally = Tally(len(cells) + len(_trainings(cells)), progress, "cell")
    failed = dict(known)
    tried = set(known)
    results: list[tuple[Cell, Report | None]] = []
    figures: list[Measured] = []
    for cell in cells:
        path = cell.training.path
        if path not in tried:
            tried.add(path)
            failed |= _train([other for other in cells if other.training.path == path], tally)
        report = None if path in failed or cell.path in failed else _evaluate(cell, tally)
        if isinstance(report, Report):
            figures.append(measured(cell.part.name, cell.training.seed, report))
            results.append((_cell(cell, report), report))
        else:
            results.append((_failed_cell(cell, failed.get(path) or failed.get(cell.path) or str(report)), None))
    return results, figures


def _train(evaluated: Sequence[Evaluation], tally: Tally) -> dict[Path, str]:
    """Train the network of these evaluations unless it is there, or all of theirs; return the reason if it failed."""
    training = evaluated[0].training
    needed = not all(cell.path.exists() for cell in evaluated)
    found = not needed or is_described(training.path)
    tally.begin(training.title, found)
    if found:
        _tidy(training.path)
        return {}
    with _own_turn(training.path, tally.progress):
        if is_described(training.path):  # another process, for which this one has waited, has made it
            return {}
        if training.path.exists() and not checkpoint_path(training.path).exists():
            aside = training.path.replace(training.path.with_name(f"{training.path.name}.damaged"))
            tally.progress.note(
                f"{training.title}: the weights are not those that a card describes, are set aside as {aside}, and are "
                "made again"
            )
        started = time.perf_counter()
        try:
            run_training(training.config, progress=tally.progress)
        except RunError as error:
            tally.progress.note(f"{training.title}: {error}")
            return {training.path: str(error)}
        tally.seconds.append(time.perf_counter() - started)
    return {}


def _own_turn(cell: Path, progress: Progress) -> AbstractContextManager[None]:
    """Return a context in which no other process makes this cell, of a folder that experiments may share."""
    return taking_turns(lock_path(cell), f"making the cell {cell.name}", progress.note)


def _tidy(cell: Path) -> None:
    """Remove what a process that was killed just after it had made this cell has left beside it."""
    lock = lock_path(cell)
    if lock.exists() or journal_paths(cell):
        with suppress(HeldError, OSError), holding(lock):
            remove_journals(cell)


def _evaluate(cell: Evaluation, tally: Tally) -> Report | str:
    """Return the report of a cell, evaluated unless its file exists, or the reason if it failed."""
    found = cell.path.exists()
    tally.begin(cell.title, found)
    if found:
        _tidy(cell.path)
        return read_report(cell.path)
    with _own_turn(cell.path, tally.progress):
        if cell.path.exists():
            return read_report(cell.path)
        started = time.perf_counter()
        try:
            command = f"a cell of stein-bench reproduce: {cell.title}"
            report = run_evaluation(cell.config, command=command, progress=_OfCell(tally.progress))
        except RunError as error:
            tally.progress.note(f"{cell.title}: {error}")
            return str(error)
        write_text(cell.path, report.to_json())
        remove_journals(cell.path)
        tally.seconds.append(time.perf_counter() - started)
    return report


def _cell(cell: Evaluation, report: Report) -> Cell:
    (variant,) = report.variants
    return Cell(
        part=cell.part.name,
        bn=cell.training.bn,
        stats=cell.stats,
        seed=cell.training.seed,
        report=cell.path.name,
        report_sha256=hashlib.sha256(cell.path.read_bytes()).hexdigest(),
        weights=cell.training.path.name,
        weights_sha256=variant.weights.sha256,
        distrusted=distrust(report, subjects(report, cell.title)),
        failed_checks=[f"{check.name}: {check.message}" for check in report.diagnostics if check.status == "fail"],
    )


def _replicates(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells, distrusted where their network is that of another seed, or not that of their training's others.

    The first is no replicate; the second happens if a network was made again, on another machine for example.
    """
    first: dict[tuple[str, str | None], int] = {}
    network: dict[str | None, str | None] = {}
    found = []
    for cell in cells:
        seed = first.setdefault((cell.bn, cell.weights_sha256), cell.seed)
        if cell.weights_sha256 is not None and seed != cell.seed:
            why = f"its network is that of seed {seed}: the two are no replicates of each other"
            cell = cell.model_copy(update={"distrusted": [*cell.distrusted, why]})
        if network.setdefault(cell.weights, cell.weights_sha256) != cell.weights_sha256:
            why = f"its network is not that of the other cells of {cell.weights}: delete the reports of these cells"
            cell = cell.model_copy(update={"distrusted": [*cell.distrusted, why]})
        found.append(cell)
    return found


def _failed_cell(cell: Evaluation, why: str) -> Cell:
    return Cell(
        part=cell.part.name, bn=cell.training.bn, stats=cell.stats, seed=cell.training.seed,
        report=None, report_sha256=None, weights=None, weights_sha256=None, distrusted=[f"failed: {why}"],
        failed_checks=[],
    )  # fmt: skip
