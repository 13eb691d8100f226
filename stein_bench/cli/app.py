"""The application: its root command and its error handling."""

from __future__ import annotations

import copy
import os
import re
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stein_bench.cli.debug import OPTION, place, print_traceback, unexpected, without_debug
from stein_bench.cli.said import say
from stein_bench.errors import RunError, SteinBenchError, reason, suggestion, without_prefix
from stein_bench.exit_codes import FAILED, INTERRUPTED, USAGE
from stein_bench.version import __version__

ORDER = ("evaluate", "train", "reproduce", "inspect", "report", "compare", "gate", "theory", "list", "schema")
READER_LEFT = 141
"""The exit code that a shell reports for a program ended by SIGPIPE."""


class OneLineErrors(TyperGroup):
    """A command group whose expected errors are one line on stderr and an exit code, never a traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which a new user needs them."""
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name, whose help also shows the options that may stand anywhere."""
        command = super().get_command(ctx, cmd_name)
        if command is None:
            return None
        shown = copy.copy(next(option for option in ctx.find_root().command.params if OPTION in option.opts))
        shown.expose_value = False  # `main` has taken it out of the words
        command = copy.copy(command)
        command.params = [*command.params, shown]
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run a command; code that it runs, such as a model's, cannot end it with an exit code of its own.

        Raises:
            RunError: it has tried to.
        """
        try:
            return super().invoke(ctx)
        except SystemExit as error:
            raise RunError(
                f"code of a model, data set or attack called sys.exit ({reason(error)}){place(error)}: let it raise an "
                "exception instead."
            ) from error

    def main(self, args: Any = None, *others: Any, **extra: Any) -> Any:
        """Run the command line; exit with the code that the command returned."""
        standalone_mode = extra.pop("standalone_mode", True)
        extra["standalone_mode"] = False
        words, debug = without_debug(sys.argv[1:] if args is None else list(args))
        try:
            code: Any = super().main(words, *others, **extra)
            if code == INTERRUPTED:  # Typer returns this code on Ctrl-C, without a message
                _complain("interrupted.", INTERRUPTED)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (whatever it is, `_told` tells it)
            if debug:
                print_traceback(error)
            code = _told(error)
        if not standalone_mode:
            return code
        sys.exit(_flushed(code if isinstance(code, int) else 0))


def _told(error: BaseException) -> int:
    """Tell what went wrong in one line on stderr, and return the exit code."""
    if isinstance(error, SteinBenchError):
        return _complain(str(error), error.exit_code)
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt):
        return _complain("interrupted.", INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        return _reader_has_left()
    if isinstance(error, OSError):
        return _complain(os_message(error), USAGE)
    if isinstance(error, MemoryError):
        return _complain(f"out of memory: {reason(error)}.", FAILED)
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of Path.expanduser
        return _complain("a path begins with ~ and a user who has no home folder: write the full path.", USAGE)
    # Typer's own usage errors; their classes moved between its versions, their interface did not.
    if hasattr(error, "format_message"):
        if type(error).__name__ == "NoArgsIsHelpError":
            return _show_help(str(getattr(error, "message", "")))
        message = _plain(without_prefix(error.format_message()))
        return _complain(message + _about_stray_numbers(message), getattr(error, "exit_code", USAGE))
    return _complain(unexpected(error), FAILED)


def _plain(message: str) -> str:
    """Return a message of Typer in the words of this project: about numbers, and with the nearest choice."""
    message = re.sub(r"Input should be a valid integer.*", "it must be a whole number.", message)
    message = re.sub(r"Input should be a valid number.*", "it must be a number.", message)
    choice = re.search(r"'([^']*)' is not one of ('.*')\.?$", message)
    return message + suggestion(choice[1], re.findall(r"'([^']*)'", choice[2])) if choice else message


def _about_stray_numbers(message: str) -> str:
    """Return a sentence on lists, if all words that the command line has too many are numbers."""
    stray = re.search(r"unexpected extra arguments?(?:\(s\))? \(([\d./ ,]+)\)", message)
    return ". A list of numbers is one word, as in 4/255,8/255." if stray else ""


def _reader_has_left() -> int:
    """Keep Python from reporting the closed stdout again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return READER_LEFT


def _flushed(code: int) -> int:
    """Flush stdout and return the exit code, or another one if that fails."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_has_left()
    except OSError as error:
        _reader_has_left()
        return _complain(f"stdout: {os_message(error)}", 2)
    return code


def os_message(error: OSError) -> str:
    """Return an error of the operating system in one line, with the file if there is one."""
    where = f"{os.fsencode(error.filename).decode(errors='backslashreplace')}: " if error.filename else ""
    return f"{where}{error.strerror or error}."


def _complain(message: str, code: int) -> int:
    if message:
        first = message[:1] if message[1:2].isupper() else message[:1].lower()
        say(f"stein-bench: {first}{message[1:]}", err=True)
    return code


def _show_help(text: str) -> int:
    """Answer a call without arguments with the help text, if Typer has not printed it already."""
    if text:
        typer.echo(text, err=True)
    return USAGE


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
    debug: Annotated[
        bool, typer.Option(OPTION, help="Show the traceback of an error; anywhere on the command line.")
    ] = False,
) -> None:
    """Options of the program itself."""
