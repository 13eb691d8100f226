"""The findings of `stein-bench doctor` as a table."""

from __future__ import annotations

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from stein_bench.doctor.findings import Examination
from stein_bench.render.console import Terminal, print_uncut

MARKS = {
    "ok": ("ok", "green"),
    "info": ("", ""),
    "slow": ("slow", "yellow"),
    "problem": ("!", "yellow"),
    "broken": ("BROKEN", "bold red"),
}


def print_examination(found: Examination, console: Console | None = None) -> None:
    """Print the findings to stdout: what is wrong or slow has a mark, and below it what to do."""
    console = console or Terminal()
    name = max(len(line.name) for lines in found.sections.values() for line in lines)
    for title, lines in found.sections.items():
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=max(len(mark) for mark, _ in MARKS.values()))
        table.add_column(width=name)
        table.add_column(overflow="fold")
        for line in lines:
            mark, style = MARKS[line.state]
            table.add_row(Text(mark, style), line.name, line.value)
            if line.advice:
                table.add_row("", "", Text(f"→ {line.advice}", "cyan"))
        print_uncut(Group(Text(title, "bold"), table if lines else Text("nothing found"), Text()), console)
    print_uncut(Text(verdict(found), "bold"), console)


def verdict(found: Examination) -> str:
    """Return the last line: whether stein-bench works here."""
    lines = [line for section in found.sections.values() for line in section]
    if broken := dict.fromkeys(line.name for line in lines if line.state == "broken"):
        return f"stein-bench does not work here: {', '.join(broken)}."
    problems = sum(line.state == "problem" for line in lines)
    slow = sum(line.state == "slow" for line in lines)
    counted = [f"{problems} problem{'s' * (problems != 1)}"] * bool(problems)
    counted += [f"{slow} thing{'s' * (slow != 1)} slow"] * bool(slow)
    return f"stein-bench works here{': ' + ', '.join(counted) if counted else ''}."
