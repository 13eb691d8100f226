"""`stein-bench evaluate` of several models: a report of each in one folder, and a leaderboard at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from stein_bench.cli.folders import board_of, find_reports, read_named
from stein_bench.cli.said import note, say, say_document
from stein_bench.cli.trackers import log_reports
from stein_bench.errors import InterruptedRunError
from stein_bench.evaluation.outputs import check_overwriting
from stein_bench.exit_codes import DONE, FAILED
from stein_bench.launch import speaks

if TYPE_CHECKING:
    from stein_bench.config import RunConfig
    from stein_bench.progress import Progress
    from stein_bench.sweep.jobs import Job
    from stein_bench.sweep.listfile import Entry
    from stein_bench.sweep.run import Sweep
    from stein_bench.sweep.settings import Asked


def evaluate_sweep(asked: Asked) -> int:
    """Run a sweep, print its leaderboard and return the exit code.

    Raises:
        UsageError: something is wrong for every model alike, in the list of models, or with the folder.
    """
    from stein_bench.sweep.jobs import Job
    from stein_bench.sweep.settings import output_folder

    shard = asked.shard()  # what is wrong about it is said first
    folder = output_folder(asked)
    with Job(folder, shard, note) as job:
        if speaks():
            job.claim()
        return _evaluate(asked, folder, job)


def _evaluate(asked: Asked, folder: Path, job: Job) -> int:
    from stein_bench.offline import offline_if
    from stein_bench.preparation.early import check_early
    from stein_bench.render.progress import terminal_progress
    from stein_bench.report.document import read_report
    from stein_bench.trackers.choice import parse_trackers

    entries = asked.entries()
    common = asked.config(entries[0], None, own=False)
    check_early(common)
    trackers = parse_trackers(common.log)
    from stein_bench.distributed import from_main  # it loads torch

    shown = terminal_progress(quiet=common.quiet or not speaks())
    with offline_if(common.offline), shown as progress, redirect_stdout(sys.stderr):
        sweep = plan_sweep(asked, entries, folder, progress)
        found = sweep.folder.finished(sweep.own, resume=common.resume) if trackers else {}
        honest = _run(sweep, folder, job, progress, resume=common.resume)
    logged = True
    if speaks():
        _print_board(folder, common)
        new = (item.output for item in sweep.own if item.name not in found and item.output.exists())
        logged = not trackers or log_reports(map(read_report, new), trackers, quiet=common.quiet)
    return DONE if honest and from_main(logged) else FAILED


def plan_sweep(asked: Asked, entries: Sequence[Entry], folder: Path, progress: Progress) -> Sweep:
    """Return the sweep of the models of `entries`, patterns included, checked; nothing is written.

    Raises:
        UsageError: something is wrong for every model alike, or in the list of models.
    """
    from stein_bench.sweep.check import check_settings
    from stein_bench.sweep.folder import SweepFolder
    from stein_bench.sweep.identity import identity_of
    from stein_bench.sweep.items import make_items
    from stein_bench.sweep.models import expand
    from stein_bench.sweep.run import Sweep

    items = make_items(asked, expand(entries, progress), folder)
    check_settings(asked, items)
    for item in items:
        check_overwriting(item.config, asked.file, asked.about.models)
    settings = asked.config(items[0].entry, None, own=False).document()
    identity = identity_of(settings, items)
    return Sweep(SweepFolder(folder, identity), items, asked.shard(), asked.about.retry_oom)


def _run(sweep: Sweep, folder: Path, job: Job, progress: Progress, *, resume: bool) -> bool:
    """Evaluate the models, each in one of the processes, and return whether all have honest reports."""
    from stein_bench.distributed import alone, check_same, dealt, exchanged, from_main, is_main, world_size
    from stein_bench.sweep.run import run_sweep

    check_same(
        {"the models and settings of the sweep": sweep.folder.identity.model_dump(mode="json")},
        "Give all the same files.",
    )
    finished = from_main(_claimed(sweep, job, resume=resume) if is_main() else {})
    if not sweep.own:
        progress.note(f"--shard {sweep.shard}: none of the {len(sweep.items)} models is in this part")
    if world_size() > 1:
        progress.note(f"{world_size()} processes share the models; those of the first are shown")
    items = dealt(sweep.own)
    try:
        with alone():
            command = shlex.join(["stein-bench", *sys.argv[1:]])
            result = run_sweep(sweep, finished, items=items, command=command, progress=progress)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"interrupted; finished reports and batches are in {folder}: add --resume to continue."
        ) from None
    return all(exchanged(result.honest))


def _claimed(sweep: Sweep, job: Job, *, resume: bool) -> dict[str, bool]:
    """Claim the folder for the sweep and the models for this job; see `SweepFolder.claim`."""
    found = sweep.folder.claim(sweep.own, resume=resume)
    job.claim()  # only now if the folder did not exist
    return found


def _print_board(folder: Path, common: RunConfig) -> None:
    found = find_reports([str(folder)])
    board = board_of(found, read_named(found))
    if common.format == "json":
        say_document(board.to_json())
        return
    from stein_bench.render.comparison.compare import print_compare

    print_compare(board)
    if not common.quiet:
        say(f"reports: {folder}", err=True)
