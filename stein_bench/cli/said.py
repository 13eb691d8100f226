"""What commands print: lines and JSON documents that neither a terminal nor a CI's runner obeys."""

from __future__ import annotations

import typer

from stein_bench.errors import one_line, visible_json, without_commands


def say(line: str, *, err: bool = False) -> None:
    """Print one line to stdout, or to stderr."""
    typer.echo(without_commands(one_line(line)), err=err)


def note(line: str) -> None:
    """Print one line beside the results, to stderr."""
    say(line, err=True)


def say_document(text: str) -> None:
    """Print a JSON document that ends its last line to stdout."""
    typer.echo(without_commands(visible_json(text)), nl=False)
