"""The command line: parse, call, print, exit. Nothing else in the project prints or exits."""

import os

from stein_bench.cli import compare, evaluate, gate, inspect, listing
from stein_bench.cli.app import app

__all__ = ["app", "compare", "evaluate", "gate", "inspect", "listing", "main"]


def main() -> None:
    """Entry point of the `stein-bench` command."""
    # Threads that wait by spinning bring torch nearly to a halt where another process wants the same cores, as on
    # a CI machine (measured: up to 5 times slower). OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="stein-bench")
