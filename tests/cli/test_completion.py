"""Shell completion: what is offered for a line, and in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stein_bench.cli import shells
from stein_bench.models import known_names

BREAKS = " \t\n\"'@><=;|&(:"
"""Bash's own characters between words."""


@pytest.fixture
def offered(invoke, monkeypatch, tmp_path):
    """Return the candidates for a line as (kind, candidate)."""
    monkeypatch.chdir(tmp_path)

    def complete(line, shell="zsh"):
        asked = {shells.VARIABLE: f"complete_{shell}", shells.LINE: line, shells.BREAKS: BREAKS}
        result = invoke(**asked)
        assert (result.exit_code, result.stderr) == (0, "")
        return [tuple(row.split("\t")[:2]) for row in result.stdout.splitlines()]

    return complete


@pytest.mark.parametrize(
    ("line", "kind", "word"),
    [
        ("ev", "plain", "evaluate"),
        ("", "plain", "doctor"),
        ("theory ri", "plain", "risk"),
        ("evaluate --batt", "plain", "--battery"),
        ("evaluate --debug --no-re", "plain", "--no-refill"),
        ("evaluate resnet18", "plain", "resnet18"),
        ("evaluate ", "plain", "resnet50"),
        ("evaluate tim", "open", "timm:"),
        ("evaluate timm:resnet1", "plain", "timm:resnet18"),
        ("evaluate resnet18 torchvision:resnext50", "plain", "torchvision:resnext50_32x4d"),
        ("evaluate torchvision:deeplabv3_r", "plain", "torchvision:deeplabv3_resnet50"),
        ("evaluate paper:res", "plain", "paper:resnet9"),
        ("train seghead:resnet1", "plain", "seghead:resnet18"),
        ("evaluate x --surrogate resnet10", "plain", "resnet10t"),
        ("evaluate x --attack pg", "plain", "pgd"),
        ("evaluate x --attack torchattacks.MI", "plain", "torchattacks.MIFGSM"),
        ("evaluate x --attack pgd:", "open", "pgd:eps="),
        ("evaluate x --attack pgd:eps=4/255,st", "open", "pgd:eps=4/255,steps="),
        ("evaluate x --attack=pg", "plain", "--attack=pgd"),
        ("evaluate x --data imagefo", "open", "imagefolder:"),
        ("evaluate x --data dig", "plain", "digits"),
        ("evaluate x --battery sta", "plain", "standard"),
        ("evaluate x --corruption fo", "plain", "fog"),
        ("evaluate x --corruption fog:", "plain", "fog:3"),
        ("evaluate x --bn st", "plain", "stein-mean"),
        ("evaluate x --stats ba", "plain", "batch"),
        ("evaluate x --weights pre", "plain", "pretrained"),
        ("evaluate x --weights pre", "files", "pre"),
        ("evaluate x --norm L", "plain", "Linf"),
        ("evaluate x --device cu", "plain", "cuda"),
        ("evaluate x --format js", "plain", "json"),
        ("evaluate x --log wan", "plain", "wandb"),
        ("evaluate x --output rep", "files", "rep"),
        ("train x --recipe cifar10-p", "plain", "cifar10-published"),
        ("reproduce ci", "plain", "cifar10"),
        ("reproduce cifar10 --preset pub", "plain", "published"),
        ("list att", "plain", "attacks"),
        ("schema rep", "plain", "reproduction"),
        ("gate re", "files", "re"),
        ("gate report.json --baseline ba", "files", "ba"),
        ("compare a.json b.js", "files", "b.js"),
        ("report a.json --plot cur", "plain", "curve"),
        ("theory risk --contamination no", "plain", "none"),
        ("theory risk --estimator stein-t", "plain", "stein-theorem"),
        ("theory lipschitz --bn js", "plain", "jsnorm"),
    ],
)
def test_names_are_offered(line, kind, word, offered) -> None:
    assert (kind, word) in offered(f"stein-bench {line}")


@pytest.mark.parametrize(
    "line", ["evaluate --limit ", "evaluate -- --batt", "nothing ", "list attacks pgd x", "evaluate x --attack zzz"]
)
def test_nothing_is_offered_where_there_is_nothing_to_offer(line, offered) -> None:
    assert offered(f"stein-bench {line}") == []


def test_files_and_what_is_in_them_are_offered(offered, tmp_path) -> None:
    (tmp_path / "net.py").write_text("raise SystemExit('imported')\ndef make(): ...\nclass Net: ...\ndef _own(): ...\n")
    (tmp_path / "my test.npz").touch()
    (tmp_path / "images").mkdir()
    assert ("open", "net.py:") in offered("stein-bench evaluate ne")
    assert offered("stein-bench evaluate net.py:") == [("plain", "net.py:make"), ("plain", "net.py:Net")]
    assert offered("stein-bench evaluate x --data npz:my") == [("plain", "npz:my test.npz")]
    assert offered("stein-bench evaluate x --data npz:my", "bash") == [("plain", r"my\ test.npz")]
    assert offered("stein-bench evaluate x --data 'npz:my") == [("plain", "npz:my test.npz")]
    assert offered("stein-bench evaluate x --data imagefolder:i") == [("open", "imagefolder:images/")]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("timm:resnet18d", "resnet18d"),
        ("x --attack torchattacks.MI", "torchattacks.MIFGSM"),
        ("x --attack pgd:eps=4/255,st", "4/255,steps="),
        ("x --attack=pgd:eps=4/255,st", "4/255,steps="),
        ("'timm:resnet18d", "timm:resnet18d"),
    ],
)
def test_bash_gets_what_is_behind_the_last_character_at_which_it_splits(line, word, offered) -> None:
    assert word in [value for _, value in offered(f"stein-bench evaluate {line}", "bash")]


def test_another_shell_and_an_error_leave_the_line_alone(offered, monkeypatch) -> None:
    assert offered("stein-bench ev", "tcsh") == []
    monkeypatch.setattr(shells, "answer", lambda *_: 1 / 0)
    assert offered("stein-bench ev") == []


def test_names_read_from_source_files_are_those_of_the_libraries() -> None:
    timm, torchvision = pytest.importorskip("timm"), pytest.importorskip("torchvision")
    from stein_bench.models.torchvision_models import torchvision_model_names
    from stein_bench.models.torchvision_segmentation import torchvision_segmentation_names

    assert list(known_names.timm_names()) == sorted(timm.list_models())
    of_torchvision = {*torchvision_model_names(), *torchvision_segmentation_names()}
    assert set(known_names.torchvision_names()) == of_torchvision, torchvision.__version__


def test_names_that_the_libraries_know_but_do_not_list_are_mentioned(monkeypatch) -> None:
    from timm.models import get_deprecated_models

    unlisted = [name for name in get_deprecated_models() if name]
    assert all(map(known_names.mentioned, unlisted))
    assert not known_names.mentioned("resnet81")
    monkeypatch.setattr(known_names, "_sources", lambda *_: [])
    assert known_names.mentioned("resnet81")  # nothing can be read: in doubt it is left to the library


def test_nothing_that_is_offered_loads_torch() -> None:
    script = (
        "import os, sys\n"
        "from stein_bench.cli import shells\n"
        "from stein_bench.cli.commands import app\n"
        "import typer\n"
        "group = typer.main.get_command(app)\n"
        "for line in ('evaluate timm:res', 'evaluate x --attack p', 'evaluate x --data n', 'evaluate x --battery ',\n"
        "             'evaluate x --corruption ', 'train x --recipe ', 'reproduce ', 'evaluate x --bn '):\n"
        "    asked = {shells.VARIABLE: 'complete_fish', shells.LINE: f'stein-bench {line}'}\n"
        "    assert shells.answer(group, asked), line\n"
        "sys.exit(', '.join({'torch', 'timm', 'torchvision', 'torchattacks'} & sys.modules.keys()) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", shells.SHELLS)
def test_completion_is_installed_once_in_a_new_home(shell, invoke, tmp_path, monkeypatch) -> None:
    for name in ("ZDOTDIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(shells, "current_shell", lambda: shell)
    assert shells.installed() == {}
    for _ in range(2):
        result = invoke("--install-completion")
        assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    assert shells.installed() == {shell: "current"}
    assert invoke("--show-completion").stdout == shells.SCRIPTS[shell]
    file, start, line = shells._places(shell)
    assert start is None or start.read_text().splitlines().count(line) == 1
    file.write_text("old")
    assert shells.installed() == {shell: "old"}


def test_a_shell_without_completion_is_told(invoke, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "shellingham", None)
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    result = invoke("--install-completion")
    assert (result.exit_code, result.stderr) == (
        2, "stein-bench: completion is for bash, zsh and fish; this shell is tcsh.\n",
    )  # fmt: skip


COMPLETING = {
    # Bash splits the line into words itself only for a person; so the words and their number are given here.
    "bash": (
        "source \"$SCRIPT\"\nCOMP_WORDBREAKS=$' \\t\\n\"\\'@><=;|&(:'\n"
        'COMP_LINE="stein-bench evaluate timm:resnet18d"; COMP_POINT=${#COMP_LINE}\n'
        'compopt() { :; }\n_stein_bench_completion stein-bench resnet18d :\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    ),
    "fish": 'source "$SCRIPT"\ncomplete -C "stein-bench evaluate timm:resnet18d"\n',
    "zsh": (  # a terminal of its own; each read waits for its pattern, however slow the machine is
        "zmodload zsh/zpty\nzpty z zsh -f -i\n"
        "zpty -w z 'autoload -Uz compinit; compinit -u -D; PROMPT=; source \"$SCRIPT\"; print ready-$((1 + 1))'\n"
        "zpty -r z line '*ready-2*'\n"
        "zpty -w -n z $'stein-bench evaluate timm:resnet18d\\t'\n"
        "zpty -r z line $'*timm:resnet18d(\\a|) *'\nprint -r -- $line\nzpty -d z\n"
    ),
}


@pytest.mark.integration
@pytest.mark.parametrize("shell", COMPLETING)
def test_the_shell_completes_a_word_with_a_colon(shell, tmp_path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "bin" / "stein-bench"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m stein_bench \"$@\"\n")
    program.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(shells.SCRIPTS[shell])
    root = str(Path(shells.__file__).parents[2])
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}", "SCRIPT": str(script), "HOME": str(tmp_path),
        "PYTHONPATH": root, "TERM": "dumb",
    }  # fmt: skip
    done = subprocess.run(
        [shell, "-c", COMPLETING[shell]], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    words = done.stdout.replace("\a", " ").split()  # some versions of zsh ring the bell beside it
    assert ("resnet18d" if shell == "bash" else "timm:resnet18d") in words, done
