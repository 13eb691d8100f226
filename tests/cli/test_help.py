"""`--help`, and commands that are called without what they need."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from stein_bench.cli.commands import app
from stein_bench.cli.help import OTHER, examples
from stein_bench.cli.options import ADVANCED, ATTACKS, BN, DATA, LONG, MODEL, OUT, SPEED

ROOT: Any = typer.main.get_command(app)


def commands(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())
ALL = pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)


def named(path: tuple[str, ...]) -> Any:
    return COMMANDS[path] if path else ROOT


@ALL
def test_the_help_of_every_command_fits_80_columns_and_has_two_examples_each_on_one_line(path, invoke) -> None:
    result = invoke(*path, "--help")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert all(len(line) <= 80 for line in lines), max(lines, key=len)
    shown = examples(named(path))
    assert len(shown) == 2
    assert all(f"  {example}" in lines for example in shown)


@ALL
def test_every_example_is_a_command_line_that_can_be_parsed(path) -> None:
    for example in examples(named(path)):
        words = shlex.split(example)[1:]
        words = words[: words.index(">")] if ">" in words else words
        command, ctx = ROOT, None
        while hasattr(command, "commands"):
            command = command.get_command(ROOT.make_context("stein-bench", [], resilient_parsing=True), words.pop(0))
        ctx = command.make_context("example", words)
        assert not ctx.args, example


@ALL
def test_every_option_has_a_panel_and_a_help_text(path) -> None:
    for param in named(path).params:
        assert param.help, param.name
        assert param.rich_help_panel or param.name == "debug", param.name


def panels(text: str) -> list[str]:
    return re.findall(r"^╭─ (.*?) ─+╮$", text, re.MULTILINE)


def test_options_of_evaluate_are_grouped_by_what_they_are_for(invoke) -> None:
    assert panels(invoke("evaluate", "--help").stdout) == [
        MODEL, DATA, BN, ATTACKS, SPEED, LONG, OUT, ADVANCED, OTHER,
    ]  # fmt: skip


def test_commands_are_grouped_and_each_is_one_line(invoke) -> None:
    text = invoke("--help").stdout
    titles = ["Evaluate a model", "Show, compare and gate reports", "Train and reproduce", "Look around"]
    assert panels(text)[:4] == titles
    for name in ROOT.commands:
        assert re.search(rf"^│ {name} +\S.*│\n[│╰](?: \S|─)", text, re.MULTILINE), name


def test_the_program_alone_prints_its_help(invoke) -> None:
    result = invoke()
    assert (result.exit_code, panels(result.output)) == (2, panels(invoke("--help").stdout))


def test_defaults_are_shown_once(invoke) -> None:
    text = " ".join(invoke("theory", "risk", "--help").stdout.replace("│", " ").split())
    assert "Numbers of channels C. Default: 3,16,64,512." in text
    assert "What goes to stdout. Default: table. --output" in text


@pytest.mark.parametrize("words", ["evaluate", "evaluate --attack pgd --format json"])
def test_evaluate_without_a_model_shows_three_ways_to_start(words, invoke) -> None:
    result = invoke(*words.split())
    ways = [line.strip() for line in result.stderr.splitlines() if line.startswith("    stein-bench evaluate ")]
    assert (result.exit_code, result.stdout, len(ways)) == (2, "", 3)
    assert result.stderr.endswith("stein-bench evaluate --help lists every option.\n")
    for way in ways:
        assert not COMMANDS[("evaluate",)].make_context("way", shlex.split(way)[2:]).args


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        ("inspect", "inspect needs MODEL, e.g. stein-bench inspect resnet18."),
        ("compare", "compare needs REPORT, e.g. stein-bench compare before.json"),
        ("report", "report needs REPORT, e.g. stein-bench report report.json"),
        ("gate", "gate needs REPORT, e.g. stein-bench gate report.json"),
        ("gate report.json", "gate needs --baseline BASE, e.g. stein-bench gate report.json --baseline"),
        ("reproduce", "e.g. stein-bench reproduce cifar10."),
        ("list", "list needs KIND, e.g. stein-bench list attacks."),
        ("train", "no model given. Name one, e.g. stein-bench train resnet18"),
    ],
)
def test_a_command_without_what_it_needs_says_so_in_one_line_with_an_example(words, needed, invoke) -> None:
    result = invoke(*words.split())
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert needed in result.stderr


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("evalute", "evaluate"),
        ("doktor", "doctor"),
        ("theory rsk", "risk"),
        ("evaluate resnet18 --atack pgd", "--attack"),
        ("train resnet18 --epoch 3", "--epochs"),
        ("inspect resnet18 --wieghts none", "--weights"),
        ("compare a.json --markdwon x", "--markdown"),
        ("gate a.json --baselin b.json", "--baseline"),
        ("report a.json --htm x", "--html"),
        ("reproduce cifar10 --sedes 3", "--seeds"),
        ("theory risk --chanels 3", "--channels"),
        ("list model", "models"),
        ("schema repot", "report"),
        ("doctor --fromat json", "--format"),
        ("doctor --format jsn", "json"),
    ],
)
def test_a_typo_suggests_the_nearest_name(words, nearest, invoke) -> None:
    result = invoke(*words.split())
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert f"Did you mean '{nearest}'?" in result.stderr
