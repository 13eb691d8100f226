"""The application: its root command, and how errors leave the program."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stein_bench import __version__
from stein_bench.errors import SteinBenchError

INTERRUPTED = 130


class OneLineErrors(TyperGroup):
    """A command group whose expected errors are one line on stderr and an exit code, never a traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; exit with the code that the command returned."""
        standalone_mode = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        try:
            code: Any = super().main(*args, **extra)
        except SteinBenchError as error:
            code = _complain(str(error), error.exit_code)
        except KeyboardInterrupt:
            code = _complain("interrupted.", INTERRUPTED)
        except BrokenPipeError:
            sys.stderr.close()  # whoever read our output has left: there is nobody to tell
            code = 1
        except Exception as error:
            # Typer's own usage errors; their classes moved between its versions, their interface did not.
            if not hasattr(error, "format_message"):
                raise
            code = _complain(error.format_message(), getattr(error, "exit_code", 2))
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, code: int) -> int:
    # A call without arguments gets the help text, which Typer hands over or has printed already.
    if "\n" in message:
        typer.echo(message, err=True)
    elif message:
        typer.echo(f"stein-bench: {message[:1].lower()}{message[1:]}", err=True)
    return code


app = typer.Typer(
    cls=OneLineErrors,
    name="stein-bench",
    help="An honest robustness benchmark for image models, with Stein-shrinkage batch normalization.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stein-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of the program itself."""
