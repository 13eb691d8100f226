"""Every row of the tables ends with its exit code and one line that says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from typer.main import get_command

from stein_bench.cli.commands import app
from tests.wrong import configs, data, documents, models, options, weights
from tests.wrong.good import write_good
from tests.wrong.row import Row

TABLES = (options, models, weights, data, configs, documents)
ROWS = [row for table in TABLES for row in table.rows()]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of `good.py`."""
    folder = tmp_path_factory.mktemp("good")
    write_good(folder)
    return folder


@pytest.fixture(scope="module")
def command() -> object:
    """The command line, made once for all rows: that takes longer than most of them."""
    return get_command(app)


@pytest.fixture
def folder(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the good files, which is the working folder; temporary files go beside it."""
    copied = tmp_path / "work"
    shutil.copytree(good, copied)
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(copied)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return copied


def state(folder: Path) -> dict[str, bytes | None]:
    """Return what a folder holds: the content of files, None for folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_wrong_input_is_told_in_one_line(row: Row, folder: Path, invoke, command, monkeypatch) -> None:
    monkeypatch.setattr("typer.testing._get_command", lambda _: command, raising=False)
    if "Permission denied" in row.words and os.geteuid() == 0:
        pytest.skip("root may read every file")
    for name, content in row.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = state(folder)
    result = invoke(*row.split())
    assert result.exit_code == row.code, result.output
    if row.shown:
        json.loads(result.stdout)
        assert result.stderr.count("\n") == (row.code == 3 and row.split()[0] == "evaluate")
    else:
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr == "" or result.stderr.startswith("stein-bench: ")
    assert "Traceback" not in result.output
    assert "bug in stein-bench" not in result.output
    for word in row.words:
        assert word in (result.output if row.shown else result.stderr)
    assert state(folder) == before
    left = [path.name for path in (folder.parent / "temporary").iterdir() if not of_a_library(path.name)]
    assert left == []


def of_a_library(name: str) -> bool:
    """Return whether a temporary folder is one that wandb or torch makes when it is imported."""
    return "wandb" in name or "torchinductor" in name


def test_every_option_and_argument_of_every_command_has_a_wrong_value() -> None:
    root = get_command(app)
    theory = root.commands["theory"]
    commands = {**root.commands, **{f"theory {name}": command for name, command in theory.commands.items()}, "": root}
    del commands["theory"]
    expected = {
        f"{name} {parameter.opts[0]}".strip()
        for name, command in commands.items()
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name not in NO_VALUES
    }
    arguments = {
        name: sum(parameter.param_type_name == "argument" for parameter in command.params)
        for name, command in commands.items()
    }
    tried = {row.option for row in options.rows()}
    assert {option for option in tried if "--" in option} == expected
    assert Counter(option.rpartition(" ")[0] for option in tried if "--" not in option and option != "COMMAND") == {
        name: count for name, count in arguments.items() if count
    }


NO_VALUES = ("help", "install_completion", "show_completion")
"""Options of Typer itself."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "net.py:make", "--attack", "pgdd"],
        ["evaluate", "net.py:make", "--attack", "fgsm", "--eps", "8"],
        ["evaluate", "net.py:make", "--bn", "sten"],
        ["evaluate", "net.py:make", "--battery", "standart"],
        ["evaluate", "missing.py:make"],
        ["evaluate", "net.py:make", "--attack", "pgdd", "--dry-run"],
        ["evaluate", "net.py:make", "net.py:no_bn", "--output", "runs/", "--attack", "pgdd"],
        ["train", "net.py:make", "--output", "new.safetensors", "--recipe", "fitt"],
        ["train", "net.py:make", "--output", "new.safetensors", "--bn", "sten"],
    ],
    ids=" ".join,
)
def test_a_wrong_name_is_told_before_torch_is_asked_for_anything(arguments, folder: Path, invoke, monkeypatch) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("the slow part has begun")

    for name in ("evaluation.run.run_evaluation", "evaluation.dry_run.dry_run", "training.run.run_training"):
        monkeypatch.setattr(f"stein_bench.{name}", loaded)
    monkeypatch.setattr("stein_bench.cli.sweep.plan_sweep", loaded)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert "the slow part" not in result.stderr


def test_the_tables_are_large_and_no_row_is_there_twice() -> None:
    assert len(ROWS) >= 600
    assert all(row.words for row in ROWS)
