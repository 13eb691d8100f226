"""`--debug`, and errors that nobody expected."""

from __future__ import annotations

import re
import sys

import pytest
from typer.main import get_command

from stein_bench.cli import debug
from stein_bench.cli.commands import app

EXPECTED = "stein-bench: eps is not a number: '8//255'. Write 0.03, 1e-3 or a fraction like 8/255.\n"
BUG = (
    "stein-bench: this is a bug in stein-bench: TypeError: dict.__getitem__() takes exactly one argument (2 given). "
    "Repeat the command with --debug and report what it prints."
    "\n"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "evaluate", "net.py:make", "--eps", "8//255"],
        ["evaluate", "--debug", "net.py:make", "--eps", "8//255"],
        ["evaluate", "net.py:make", "--eps", "8//255", "--debug"],
        ["evaluate", "net.py:make", "--eps", "8//255", "--debug", "--debug"],
    ],
)
def test_debug_shows_the_traceback_of_an_expected_error_before_its_line(arguments, invoke) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert "ValueError: 8//255" in result.stderr  # what `from None` hides from Python's own traceback
    assert result.stderr.endswith("\n" + EXPECTED)
    assert result.stdout == ""
    assert invoke(*(word for word in arguments if word != "--debug")).stderr == EXPECTED


def test_after_two_dashes_debug_is_a_word_like_others(invoke) -> None:
    result = invoke("report", "--", "--debug")
    assert result.exit_code == 2
    assert result.stderr.startswith("stein-bench: ")
    assert "--debug" in result.stderr


def test_an_unexpected_error_is_one_line_and_code_3_with_its_traceback_on_request(invoke, monkeypatch) -> None:
    monkeypatch.setattr("stein_bench.render.listings.print_listing", {}.__getitem__)
    for arguments, shown in ((["list", "bn"], False), (["list", "bn", "--debug"], True)):
        result = invoke(*arguments)
        assert result.exit_code == 3
        assert result.stdout == ""
        assert result.stderr.endswith(BUG)
        assert ("in list_" in result.stderr) is shown
        assert (result.stderr == BUG) is not shown


def test_an_error_in_somebodys_code_is_no_bug_of_stein_bench(invoke, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("no such thing")  # this file is none of stein-bench's

    monkeypatch.setattr("stein_bench.render.listings.print_listing", broken)
    result = invoke("list", "bn")
    assert result.exit_code == 3
    assert re.fullmatch(
        r"stein-bench: code that is not part of stein-bench failed: KeyError: 'no such thing' "
        r"\(test_debug.py, line \d+\). --debug shows the traceback.\n",
        result.stderr,
    )


def test_code_that_ends_the_program_does_not_end_it_with_its_own_exit_code(invoke, monkeypatch) -> None:
    def leave(*_: object) -> None:
        sys.exit(0)

    monkeypatch.setattr("stein_bench.render.listings.print_listing", leave)
    result = invoke("list", "bn")
    assert result.exit_code == 3
    assert "called sys.exit (SystemExit: 0) (test_debug.py, line" in result.stderr
    assert result.stderr.count("\n") == 1


def test_memory_that_runs_out_is_no_bug(invoke, monkeypatch) -> None:
    def large(*_: object) -> None:
        raise MemoryError("Unable to allocate 8 TiB")

    monkeypatch.setattr("stein_bench.render.listings.print_listing", large)
    result = invoke("list", "bn")
    assert (result.exit_code, result.stderr) == (
        3,
        "stein-bench: out of memory: MemoryError: Unable to allocate 8 TiB.\n",
    )


def test_a_traceback_of_errors_that_cause_each_other_ends(capsys) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    debug.print_traceback(first)
    assert "ValueError: second" in capsys.readouterr().err


@pytest.mark.integration
def test_every_command_shows_debug_in_its_help_and_none_takes_it_as_an_argument(invoke) -> None:
    commands = [[name] for name in get_command(app).commands] + [["theory", "risk"], ["theory", "lipschitz"]]
    for command in [[], *commands]:
        assert "--debug" in invoke(*command, "--help").stdout, command
    assert invoke("schema", "--debug").exit_code == 0


def test_a_typo_in_debug_is_told(invoke) -> None:
    assert "--debug" in invoke("schema", "--debgu").stderr
