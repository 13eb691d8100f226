"""The loop of a sweep: its models in turn, of which none that fails stops the others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from stein_bench.files.locks import sole_writer
from stein_bench.progress import Progress, Silent
from stein_bench.report.document import Report
from stein_bench.sweep.attempts import evaluate_item, free_memory, interrupted, one_line
from stein_bench.sweep.folder import SweepFolder
from stein_bench.sweep.items import Item
from stein_bench.sweep.shard import Shard
from stein_bench.tally import Tally


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        folder: where its files are.
        items: all its models.
        shard: the part of them that this job evaluates; None: all.
        retry_oom: try a model again in smaller batches if memory runs out.
    """

    folder: SweepFolder
    items: tuple[Item, ...]
    shard: Shard | None = None
    retry_oom: bool = False

    @property
    def own(self) -> tuple[Item, ...]:
        """The models of this job."""
        return self.items if self.shard is None else self.shard.of(self.items)


@dataclass(frozen=True)
class Outcome:
    """What became of a model.

    Attributes:
        item: the model.
        status: it was evaluated, its report was there already, or it failed.
        dishonest: whether its report is, see `Report.dishonest`.
        reason: why it failed, else empty.
    """

    item: Item
    status: Literal["done", "found", "failed"]
    dishonest: bool = False
    reason: str = ""


@dataclass(frozen=True)
class SweepResult:
    """What became of the models that this process was given, in that order."""

    outcomes: tuple[Outcome, ...]

    @property
    def honest(self) -> bool:
        """Whether every model has a report that is not dishonest."""
        return not any(outcome.status == "failed" or outcome.dishonest for outcome in self.outcomes)


def run_sweep(
    sweep: Sweep,
    finished: Mapping[str, bool],
    *,
    items: Iterable[Item] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> SweepResult:
    """Evaluate the models of a sweep in turn, and write a report for each, or why it failed.

    Between models all memory is given back. Nothing is printed.

    Args:
        sweep: what to evaluate.
        finished: names of models with a report, and whether it is dishonest, see `SweepFolder.claim`.
        items: yields the models of this process; the next one is asked for once the last is done. None: those of the
            shard in order.
        command: the command line, for the reports.
        progress: receives progress and notes.

    Raises:
        KeyboardInterrupt: the user has interrupted it; everything finished is kept.
        OSError: a report cannot be written.
    """
    progress = progress or Silent()
    tally = Tally(len(sweep.own), progress, "model")
    outcomes = []
    for item in sweep.own if items is None else items:
        tally.begin(item.title, item.name in finished)
        if item.name in finished:
            outcomes.append(Outcome(item, "found", finished[item.name]))
            continue
        started = time.perf_counter()
        outcomes.append(_evaluated(sweep, item, command, progress))
        free_memory()
        if outcomes[-1].status == "done":
            tally.seconds.append(time.perf_counter() - started)
    return SweepResult(tuple(outcomes))


def _evaluated(sweep: Sweep, item: Item, command: str, progress: Progress) -> Outcome:
    try:
        with sole_writer("the report", item.output, progress.note):
            return _evaluated_alone(sweep, item, command, progress)
    except UsageError as error:  # another run is writing this report, such as one of this model alone
        progress.note(f"{item.title}: failed: {error}")
        return Outcome(item, "failed", reason=str(error))


def _evaluated_alone(sweep: Sweep, item: Item, command: str, progress: Progress) -> Outcome:
    evaluate = partial(run_evaluation, command=command, progress=progress, hanging_ends_process=True)
    try:
        report: Report | str = evaluate_item(item, sweep.folder, evaluate, progress, retry_oom=sweep.retry_oom)
    except (Exception, SystemExit) as error:  # of any kind: a user's code may raise whatever it likes
        if interrupted(error):
            raise KeyboardInterrupt from error
        report = one_line(error)
    if isinstance(report, Report):
        sweep.folder.keep_report(item, report)
        return Outcome(item, "done", bool(report.dishonest()))
    progress.note(f"{item.title}: failed: {report}")
    sweep.folder.keep_failure(item, report)
    return Outcome(item, "failed", reason=report)
