"""The command line: parse, call, print, exit. Nothing else in the project prints or exits."""

from __future__ import annotations

import os
import sys

from stein_bench.exit_codes import INTERRUPTED
from stein_bench.interrupts import end_like_interrupt


def main() -> None:
    """Entry point of the `stein-bench` command."""
    # GNU OpenMP lets waiting threads spin 300,000 times, which nearly stalls torch if another process needs the same
    # cores, as on a CI machine (measured: up to 5 times slower). A shorter wait costs nothing on an idle machine. The
    # variable is read once, when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    end_like_interrupt()
    try:
        from stein_bench.cli.commands import app  # here, so that Ctrl-C is handled while the libraries load

        app(prog_name="stein-bench")
    except KeyboardInterrupt:
        print("stein-bench: interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
