"""Commands that `torchrun` may start in several processes: they end together, and the first one speaks for all."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from stein_bench.cli.app import READER_LEFT, os_message
from stein_bench.cli.debug import unexpected
from stein_bench.errors import RunError, SteinBenchError
from stein_bench.exit_codes import FAILED, INTERRUPTED, USAGE
from stein_bench.launch import launched

if TYPE_CHECKING:
    from stein_bench.distributed.watch import Failure, Watch

P = ParamSpec("P")

PATIENCE = 3.0
"""Seconds in which a failed exchange is explained by the death of the process at its other end."""


class SharedError(SteinBenchError):
    """Why all processes end, with the exit code of the one at fault."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


def in_every_process(command: Callable[P, int]) -> Callable[P, int]:
    """Let a command run in all processes that `torchrun` started, or as it is if there is one."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        call = partial(command, *args, **kwargs)
        return _together(call) if launched() else call()

    return run


def _together(call: Callable[[], int]) -> int:
    """Return the exit code of the command, the same in all processes.

    Raises:
        SharedError: all end for this reason, which the first process prints; in the others the message is empty.
    """
    from stein_bench.distributed import check_same, wait_for_all
    from stein_bench.distributed.watch import interrupt_main_thread, watched
    from stein_bench.interrupts import end_like_interrupt, ignore_ending_signals
    from stein_bench.report.provenance import package_versions

    end_like_interrupt()
    with watched(interrupt_main_thread) as watch:
        try:
            check_same({"its arguments": sys.argv[1:]}, "Start the same command on every node.")
            same = {"the code of stein-bench": code_sha256(), "the versions of packages": package_versions()}
            check_same(same, "Install the same versions on every node.")
            code = call()
            wait_for_all()
        except BaseException as error:
            ignore_ending_signals()
            failure, own = _reason(watch, error)
            watch.leave()
            if own and isinstance(error, BrokenPipeError):
                raise
            line = failure.message if failure.rank == watch.rank else failure.line
            raise SharedError(line if watch.speaks(failure) else "", failure.code) from None
        ignore_ending_signals()  # torchrun ends the others once the first has ended with another code than 0
        watch.leave()
        return code


def _reason(watch: Watch, error: BaseException) -> tuple[Failure, bool]:
    """Return why this process ends, and whether that is an error of its own and not the consequence of another's."""
    interrupted = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", None) == INTERRUPTED
    if interrupted or isinstance(error, RunError):
        others = _of_others(watch, 0.0 if interrupted else PATIENCE)
        if others is not None and not (interrupted and others.code == INTERRUPTED):
            return others, False
    if interrupted:
        return watch.own(str(error) if isinstance(error, SteinBenchError) else "interrupted.", INTERRUPTED), True
    if isinstance(error, SteinBenchError):
        return watch.own(str(error), error.exit_code), True
    if isinstance(error, BrokenPipeError):
        return watch.own("the reader of its output has left.", READER_LEFT), True
    if isinstance(error, OSError):
        return watch.own(os_message(error), USAGE), True
    return watch.own(unexpected(error), FAILED), True


def _of_others(watch: Watch, patience: float) -> Failure | None:
    """Return what another process recorded, or that one has died."""
    deadline = time.monotonic() + patience
    while (found := watch.failure() or watch.died()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def code_sha256() -> str:
    """Return the SHA-256 of the source files of this package."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.yaml")]):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
