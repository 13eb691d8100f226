"""The command line: parse, call, print, exit. Nothing else in the project prints or exits."""

from stein_bench.cli import evaluate, listing
from stein_bench.cli.app import app

__all__ = ["app", "evaluate", "listing", "main"]


def main() -> None:
    """Entry point of the `stein-bench` command."""
    app(prog_name="stein-bench")
