"""The page of the command line: every command with its text, examples and options, as `--help` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple, get_args

from from_code.markdown import code, fenced, prose, table
from stein_bench.exit_codes import DONE, FAILED, INTERRUPTED, REGRESSION, USAGE

INTRODUCTION = """# Command line

Every command with its options, as `--help` shows them. What [configuration files](configuration.md) may set has the
same names there.

"""
CODES = {
    DONE: "done, or the gate passed",
    REGRESSION: "the gate found a regression, a missed minimum or a missing attack",
    USAGE: "wrong usage, configuration or input: one line on stderr says what and where",
    FAILED: "the run failed, a result cannot be trusted, or reports cannot be compared",
    INTERRUPTED: "interrupted; what is done is kept",
}
BULLET = re.compile(r"(?:^- `([^`]+)`$\n?)+", re.MULTILINE)


class Found(NamedTuple):
    """A command: its words, the object of Typer, and its usage."""

    words: str
    command: Any
    usage: str


def commands(root: Any) -> list[Found]:
    """Every command of the application, groups opened, in the order of its help."""
    return list(_commands(root, root.make_context("stein-bench", [], resilient_parsing=True)))


def _commands(group: Any, context: Any) -> Iterator[Found]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        if hasattr(command, "list_commands"):
            yield from _commands(command, inner)
        else:
            usage = command.get_usage(inner).removeprefix("Usage: ")
            yield Found(inner.command_path, command, usage)


def page(root: Any) -> str:
    """The page, from the application's root command."""
    found = commands(root)
    parts = [INTRODUCTION, table(("exit code", "meaning"), [(code(number), text) for number, text in CODES.items()])]
    parts.append("## stein-bench\n\n" + table(("option", "meaning"), [option_row(one) for one in options(root)]))
    return "".join([*parts, *(_section(one) for one in found)])


def _section(found: Found) -> str:
    arguments = [one for one in found.command.params if one.opts[0].startswith("-") is False]
    parts = [f"## {found.words}\n\n", fenced(found.usage, "text"), text(found.command.help), "\n\n"]
    parts.append(table(("argument", "meaning"), [(code(_shown(one)), _meaning(one)) for one in arguments]))
    panels = dict.fromkeys(one.rich_help_panel for one in options(found.command))
    for panel in panels:
        rows = [option_row(one) for one in options(found.command) if one.rich_help_panel == panel]
        parts += [f"**{panel}**\n\n" if panel else "", table(("option", "meaning"), rows)]
    return "".join(parts)


def text(help: str) -> str:
    """The text of a command; a list of commands becomes one block that can be copied."""
    return BULLET.sub(
        lambda match: fenced("\n".join(re.findall(r"^- `([^`]+)`$", match[0], re.MULTILINE)), "bash"), help
    )


def options(command: Any) -> list[Any]:
    """The options of a command that its help shows, in its order."""
    return [one for one in command.params if one.opts[0].startswith("-") and not one.hidden]


def option_row(option: Any) -> tuple[str, str]:
    """Names with the form of the value, and the meaning with the default."""
    names = ", ".join([*option.opts, *option.secondary_opts])
    shown = names if option.is_flag else f"{names} {_shown(option)}"
    return code(shown), _meaning(option)


def _shown(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    kind = next((each for each in get_args(kind) if each is not type(None)), kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(each.value) for each in kind)
    return str(parameter.name).upper()


def _meaning(parameter: Any) -> str:
    known = parameter.default
    known = known.value if isinstance(known, Enum) else known
    told = known in (None, False, (), []) or not parameter.show_default or "Default" in (parameter.help or "")
    return prose(parameter.help or "") + ("" if told else f" Default: {code(known)}.")
