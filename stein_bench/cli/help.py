"""`--help`, and what a command says that is called without what it needs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from typer.core import TyperCommand

OTHER = "Other"
"""Title of the panel for options that every command has; it comes last."""


class Command(TyperCommand):
    """A command whose help is short: two examples, and its options by what they are for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Print the help."""
        show_help(self, ctx)


def show_help(command: Any, ctx: Any) -> None:
    """Print the help of a command or a group."""
    from stein_bench.render.help import Help, print_help

    panels: dict[str, list[tuple[str, str]]] = {}
    for name, panel, text in _commands(command, ctx):
        panels.setdefault(panel, []).append((name, text))
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        title = getattr(param, "rich_help_panel", None) or OTHER
        panels.setdefault(title, []).append((_name(param), f"{param.help or ''}{_default(param)}"))
    print_help(Help(_usage(command, ctx), inspect.cleandoc(command.help or ""), list(panels.items())))


def examples(command: Any) -> list[str]:
    """Return the command lines that the help of a command shows as examples."""
    return re.findall(r"^\s*- `(.+)`$", command.help or "", re.MULTILINE)


def what_is_missing(error: Any) -> str:
    """Return what to say of a command that lacks the argument or option of the `error`: which, and an example."""
    command, path, param = error.ctx.command, error.ctx.command_path, error.param
    name = param.metavar if param.param_type_name == "argument" else f"{param.opts[0]} {param.metavar}"
    shown = examples(command)
    example = f", e.g. {shown[0]}" if shown else ""
    return f"{path.partition(' ')[2] or path} needs {name}{example}. See {path} --help."


def _commands(group: Any, ctx: Any) -> Iterator[tuple[str, str, str]]:
    """Yield name, panel and one line of each command of a group."""
    for name in group.list_commands(ctx) if hasattr(group, "list_commands") else ():
        command = group.get_command(ctx, name)
        yield name, command.rich_help_panel or "Commands", command.short_help or command.get_short_help_str(limit=200)


def _usage(command: Any, ctx: Any) -> str:
    words = [ctx.command_path, "[OPTIONS]"]
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    words += [_name(param) if param.required else f"[{_name(param)}]" for param in arguments]
    return " ".join([*words, *(["COMMAND ..."] if hasattr(command, "list_commands") else [])])


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"{param.metavar or param.name.upper()}{'...' if param.nargs == -1 else ''}"
    first, *others = sorted(param.opts, key=len, reverse=True)
    names = "/".join([first, *param.secondary_opts])
    aliases = "".join(f", {name}" for name in others)
    return f"{names}{aliases}" if param.is_flag else f"{names}{aliases} {param.metavar or 'TEXT'}"


def _default(param: Any) -> str:
    default = param.default
    if param.param_type_name != "option" or param.is_flag or not param.show_default or default in (None, (), []):
        return ""
    if callable(default):
        return ""
    return f" Default: {default.value if isinstance(default, Enum) else default}."
