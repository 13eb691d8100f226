"""`stein-bench evaluate --dry-run`: what a run or a sweep would cost, without running it."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from stein_bench.cli.said import say_document
from stein_bench.errors import InterruptedRunError, UsageError
from stein_bench.exit_codes import DONE, FAILED
from stein_bench.launch import launched

if TYPE_CHECKING:
    from stein_bench.config import RunConfig
    from stein_bench.evaluation.costs.results import DryRun
    from stein_bench.progress import Progress
    from stein_bench.sweep.run import Sweep
    from stein_bench.sweep.settings import Asked


def show_costs(asked: Asked) -> int:
    """Estimate what is asked for, print it and return the exit code; nothing is written.

    Raises:
        UsageError: something is wrong with the input, as in the run itself.
    """
    if launched():
        raise UsageError("--dry-run needs one process, which tells the times of several: start it without torchrun.")
    try:
        return _sweep(asked) if asked.is_sweep else _single(asked)
    except KeyboardInterrupt:
        raise InterruptedRunError("interrupted.") from None


def _single(asked: Asked) -> int:
    from stein_bench.evaluation.outputs import check_output
    from stein_bench.preparation.early import check_early, check_sources
    from stein_bench.render.progress import terminal_progress
    from stein_bench.trackers.choice import parse_trackers

    settings = asked.single()
    check_output(settings, asked.file)
    check_early(settings)
    check_sources(settings.data, settings.model, settings.surrogate)
    parse_trackers(settings.log)
    with terminal_progress(quiet=settings.quiet) as progress:
        run = _estimated(settings, progress)
    if settings.format == "json":
        from stein_bench.render.costs.document import dry_run_json

        say_document(dry_run_json(run))
        return DONE
    from stein_bench.render.costs.table import print_dry_run

    print_dry_run(run)
    return DONE


def _sweep(asked: Asked) -> int:
    from stein_bench.cli.sweep import plan_sweep
    from stein_bench.offline import offline_if
    from stein_bench.render.progress import terminal_progress
    from stein_bench.sweep.settings import output_folder
    from stein_bench.trackers.choice import parse_trackers

    asked.shard()
    folder, entries = output_folder(asked), asked.entries()
    common = asked.config(entries[0], None, own=False)
    parse_trackers(common.log)
    shown = terminal_progress(quiet=common.quiet)
    with offline_if(common.offline), shown as progress, redirect_stdout(sys.stderr):
        runs = _of_models(plan_sweep(asked, entries, folder, progress), progress, resume=common.resume)
    if common.format == "json":
        from stein_bench.render.costs.document import sweep_json

        say_document(sweep_json(runs))
    else:
        from stein_bench.render.console import print_uncut
        from stein_bench.render.costs.table import sweep_table

        print_uncut(sweep_table(runs))
    return FAILED if any(isinstance(run, str) for run in runs.values()) else DONE


def _of_models(sweep: Sweep, progress: Progress, *, resume: bool) -> dict[str, DryRun | str]:
    """Return what each model of this job costs, or why it cannot be evaluated; those with a report are left out."""
    from stein_bench.sweep.attempts import free_memory, interrupted, one_line

    found: dict[str, DryRun | str] = {}
    finished = sweep.folder.finished(sweep.own, resume=resume)
    if finished:
        progress.note(f"{len(finished)} of {len(sweep.own)} models have their report and are left out")
    left = [item for item in sweep.own if item.name not in finished]
    for number, item in enumerate(left, 1):
        progress.note(f"model {number} of {len(left)}: {item.title}")
        try:
            found[item.title] = _estimated(item.config, progress)
        except (Exception, SystemExit) as error:  # a user's code may raise whatever it likes
            if interrupted(error):
                raise KeyboardInterrupt from error
            found[item.title] = one_line(error)
        free_memory()
    return found


def _estimated(settings: RunConfig, progress: Progress) -> DryRun:
    from stein_bench.evaluation.dry_run import dry_run

    with redirect_stdout(sys.stderr):  # a user's network may print; stdout is for the results
        return dry_run(settings, progress)
