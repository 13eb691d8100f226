"""`--log`: finished reports go to experiment trackers, whose failure costs no report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from stein_bench.cli.said import say
from stein_bench.errors import RunError
from stein_bench.launch import speaks

if TYPE_CHECKING:
    from stein_bench.report.document import Report
    from stein_bench.trackers.choice import Tracker


def log_reports(reports: Iterable[Report], trackers: Sequence[Tracker], *, quiet: bool = False) -> bool:
    """Log finished reports, say on stderr where, and return whether every tracker took all of them.

    A tracker that fails gets one line on stderr, and the others go on.
    """
    from stein_bench.trackers.log import log_report

    worked = True
    for report in reports:
        for tracker in trackers:
            try:
                where = log_report(report, tracker)
            except RunError as error:
                say(f"stein-bench: {error}", err=True)
                worked = False
            else:
                if not quiet:
                    say(f"logged: {where}", err=True)
    return worked


def log_from_main(report: Report, trackers: Sequence[Tracker], *, quiet: bool) -> bool:
    """Log a report from the first of several processes; all return whether that worked."""
    if not trackers:
        return True
    from stein_bench.distributed import from_main

    return from_main(log_reports([report], trackers, quiet=quiet) if speaks() else True)
