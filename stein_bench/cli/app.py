"""The application: its root command and its error handling."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from stein_bench.cli import shells
from stein_bench.cli.debug import OPTION, place, print_traceback, unexpected, without_debug
from stein_bench.cli.help import OTHER, Command, show_help, what_is_missing
from stein_bench.cli.said import say
from stein_bench.errors import RunError, SteinBenchError, reason, suggestion, without_prefix
from stein_bench.exit_codes import DONE, FAILED, INTERRUPTED, USAGE
from stein_bench.version import __version__

EVALUATE, COMPARE, TRAIN, LOOK = (
    "Evaluate a model", "Show, compare and gate reports", "Train and reproduce", "Look around",
)  # fmt: skip
"""Titles of the panels of commands."""
ORDER = (
    "evaluate", "inspect", "report", "compare", "gate", "train", "reproduce", "theory", "list", "doctor", "schema",
)  # fmt: skip
F = TypeVar("F", bound=Callable[..., Any])
READER_LEFT = 141
"""The exit code that a shell reports for a program ended by SIGPIPE."""


class OneLineErrors(TyperGroup):
    """A command group whose expected errors are one line on stderr and an exit code, never a traceback."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Print the help."""
        show_help(self, ctx)

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
        if shells.VARIABLE in os.environ:
            say_answer(self)
            sys.exit(DONE)
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


def say_answer(group: Any) -> None:
    """Print what the script of a shell asks for; an error there would only disturb the line that is being typed."""
    with contextlib.suppress(Exception):
        typer.echo(shells.answer(group, os.environ), nl=False)


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
        if type(error).__name__ == "MissingParameter" and getattr(error, "ctx", None) is not None:
            return _complain(what_is_missing(error), USAGE)
        message = _plain(without_prefix(error.format_message()), getattr(error, "ctx", None))
        return _complain(message + _about_stray_numbers(message), getattr(error, "exit_code", USAGE))
    return _complain(unexpected(error), FAILED)


def _plain(message: str, ctx: Any) -> str:
    """Return a message of Typer in the words of this project: about numbers, and with the nearest choice."""
    message = re.sub(r"Input should be a valid integer.*", "it must be a whole number.", message)
    message = re.sub(r"Input should be a valid number.*", "it must be a number.", message)
    if (name := re.match(r"No such command '([^']*)'", message)) and ctx is not None:
        return f"No such command '{name[1]}'.{suggestion(name[1], ctx.command.list_commands(ctx), most=1)}"
    if option := re.match(r"No such option: (\S+)", message):
        word = option[1].rstrip(".")
        near = re.findall(r"--[\w-]+", message[option.end() :])
        return f"No such option: {word}.{suggestion(word, near, most=1)}"
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
    help="""How robust is this image model, and does another batch normalization (BN) make it more robust?

    - `stein-bench evaluate resnet18 --attack pgd`
    - `stein-bench evaluate net.py:make --weights net.safetensors --data npz:test.npz`

    `stein-bench COMMAND --help` tells more of a command.
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(name: str, panel: str, summary: str, **options: Any) -> Callable[[F], F]:
    """Return the decorator for a command of the program.

    Args:
        name: as typed.
        panel: one of `EVALUATE`, `COMPARE`, `TRAIN` and `LOOK`.
        summary: its line in the list of commands.
        options: of `typer.Typer.command`.
    """
    return app.command(name, **{"cls": Command, "rich_help_panel": panel, "short_help": summary, **options})


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stein-bench {__version__}")
        raise typer.Exit


def _show_completion(wanted: bool) -> None:
    if wanted:
        typer.echo(shells.SCRIPTS[shells.current_shell()], nl=False)
        raise typer.Exit


def _install_completion(wanted: bool) -> None:
    if wanted:
        shell = shells.current_shell()
        say(f"completion for {shell}: {shells.install(shell)}. It works in shells started from now on.")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version.", rich_help_panel=OTHER
        ),
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=_install_completion,
            is_eager=True,
            help="Let this shell (bash, zsh or fish) complete commands, options and names.",
            rich_help_panel=OTHER,
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            callback=_show_completion,
            is_eager=True,
            help="Show the script that --install-completion installs.",
            rich_help_panel=OTHER,
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option(OPTION, help="Show the traceback of an error; anywhere on the command line.")
    ] = False,
) -> None:
    """Options of the program itself."""
